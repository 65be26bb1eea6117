//! Rules about the source text that neither rustc, rustfmt nor clippy know.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Longest file, tests not counted.
const LINES_MAX: usize = 300;
/// Modules that may speak SQL.
const SQL_MODULES: [&str; 2] = ["store", "embedded"];
/// How SQL starts or goes on, in lower case. Words that prose has too stand with their quote.
const SQL: [&str; 16] = [
    "\"select ",
    "\"update ",
    "\"with ",
    "\"listen ",
    "\"notify ",
    "\"begin",
    "\"commit",
    "\"vacuum",
    "select * from ",
    "insert into ",
    "delete from ",
    "create table ",
    "create database ",
    "drop table ",
    "truncate table ",
    " skip locked",
];

#[test]
fn modules_import_only_modules_above_them() {
    let modules = modules();
    let rank = |name: &str| modules.iter().position(|it| it == name);
    for file in sources("src") {
        let Some(here) = rank(&file.module) else { continue };
        for import in imports(&file.code()) {
            let below = rank(&import).is_some_and(|there| here < there);
            assert!(!below, "{}: `{import}` is below `{}`", file.path.display(), file.module);
        }
    }
}

#[test]
fn each_module_is_declared_in_lib_and_has_its_file() {
    let modules = modules();
    assert!(!modules.is_empty());
    for module in &modules {
        assert!(Path::new(&format!("src/{module}.rs")).is_file(), "no file of `{module}`");
    }
    for file in sources("src") {
        let known = modules.contains(&file.module) || ["lib", "main"].contains(&&*file.module);
        let owner = Path::new("src").join(&file.module).with_extension("rs");
        assert!(known || owner.is_file(), "{} belongs to no module", file.path.display());
        assert!(!file.path.ends_with("mod.rs"), "{}: no mod.rs files", file.path.display());
    }
}

#[test]
fn files_say_what_they_are_and_fit_on_a_few_screens() {
    for file in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        let path = file.path.display();
        assert!(file.text.starts_with("//! "), "{path} does not say what it is for");
        let lines = file.code().lines().count();
        let exempt = file.is_tests() || !file.path.starts_with("src");
        assert!(exempt || lines <= LINES_MAX, "{path} has {lines} lines without its tests");
    }
}

#[test]
fn only_the_store_speaks_sql() {
    for file in sources("src").into_iter().filter(|it| !SQL_MODULES.contains(&&*it.module)) {
        for line in file.code().lines() {
            let lower = line.to_lowercase();
            let word = SQL.into_iter().find(|it| lower.contains(it));
            assert_eq!(word, None, "{}: SQL in `{}`", file.path.display(), line.trim());
        }
    }
}

#[test]
fn the_embedded_server_starts_programs_with_a_clean_environment_only() {
    let start = concat!("Command::", "new");
    for file in sources("src").into_iter().filter(|it| it.module == "embedded") {
        let allowed = usize::from(file.path.ends_with("embedded/process.rs"));
        let found = file.code().matches(start).count();
        assert!(found <= allowed, "{}: use process::command", file.path.display());
    }
}

#[test]
fn tests_wait_for_conditions_and_not_for_time() {
    let sleep = concat!("thread::", "sleep");
    for file in sources("tests") {
        // A fault lasts for a time; waits for what follows it have a condition.
        let allowed = match &file.path {
            path if path.ends_with("shared/wait.rs") => 1,
            path if path.ends_with("faults/support.rs") => 1,
            _ => 0,
        };
        let found = file.code().matches(sleep).count();
        assert!(found <= allowed, "{}: use wait_until", file.path.display());
    }
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let manifest = format!("{}/", env!("CARGO_MANIFEST_DIR"));
    let places = [manifest.as_str(), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    for path in files(Path::new(".")) {
        // What is not text has no lines to write a path in.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let place = places.into_iter().find(|it| text.contains(it));
        assert_eq!(place, None, "{} names a place of one machine", path.display());
    }
}

/// A Rust file.
struct Source {
    path: PathBuf,
    /// The module it belongs to: `a` for `src/a.rs` and `src/a/b.rs`.
    module: String,
    text: String,
}

impl Source {
    fn is_tests(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.iter().any(|it| it == "tests")
    }

    /// The text without the tests of the module, and without comments.
    fn code(&self) -> String {
        if self.is_tests() && self.path.starts_with("src") {
            return String::new();
        }
        let code = self.text.lines().take_while(|line| *line != "mod tests {");
        let code = code.map(|line| if line.trim_start().starts_with("//") { "" } else { line });
        code.collect::<Vec<_>>().join("\n")
    }
}

fn sources(dir: &str) -> Vec<Source> {
    let rust = files(Path::new(dir)).into_iter().filter(|it| it.extension() == Some("rs".as_ref()));
    let source = |path: PathBuf| {
        let first = path.iter().nth(1).expect("a path in the directory");
        let module = Path::new(first).with_extension("").display().to_string();
        Source { module, text: fs::read_to_string(&path).unwrap(), path }
    };
    rust.map(source).collect()
}

/// All files below a directory that belong to the project; none if there is no directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let hidden = name.starts_with('.') && name != ".ci";
        if hidden || name == "target" || name == "Cargo.lock" {
            continue;
        }
        let is_dir = entry.file_type().unwrap().is_dir();
        if is_dir { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// Names of the modules that `lib.rs` declares, in its order.
fn modules() -> Vec<String> {
    let lib = fs::read_to_string("src/lib.rs").unwrap();
    let name = |line: &str| {
        let line = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        Some(line.strip_prefix("mod ")?.strip_suffix(';')?.to_owned())
    };
    lib.lines().filter_map(name).collect()
}

/// First names after `crate::` in the code, also those of a group.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_names(group)),
            None => found.push(name(rest)),
        }
    }
    found
}

/// Names of a group that stand in no inner group: `a` and `d` in `a::{b, c}, d}`.
fn group_names(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut outer = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ if depth == 1 => outer.push(c),
            _ => (),
        }
        if depth == 0 {
            break;
        }
    }
    outer.split(',').map(|it| name(it.trim())).collect()
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::a::B; crate::c::d(); use crate::{e, f::{g, h},\n    i::J};";
    assert_eq!(imports(code), ["a", "c", "e", "f", "i"]);
}
