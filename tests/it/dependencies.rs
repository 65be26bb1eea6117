//! What we build on: from where, under which licences, and nothing that is known to be bad. Works
//! without a network.

use std::fs;
use std::process::Command;

use serde_json::Value;

/// Licences that ask for no more than their text.
const LICENCES: [&str; 12] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "ISC",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "Zlib",
    "0BSD",
    "Unlicense",
    "BSL-1.0",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
];
/// Crates that may not come back, and why.
const BANNED: [(&str, &str); 9] = [
    ("openssl-sys", "a second TLS, and not ours to build"),
    ("native-tls", "a second TLS, another one on each system"),
    ("aws-lc-sys", "a second cryptography beside ring, and needs a C compiler and cmake"),
    ("rsa", "RUSTSEC-2023-0071, a timing leak without a fix"),
    ("atty", "RUSTSEC-2021-0145, unmaintained"),
    ("ansi_term", "RUSTSEC-2021-0139, unmaintained"),
    ("serde_yaml", "unmaintained"),
    ("rustls-pemfile", "RUSTSEC-2025-0134, unmaintained; rustls-pki-types reads PEM"),
    ("paste", "RUSTSEC-2024-0436, unmaintained"),
];
/// Crates that must be there once: two versions do not know each other's types, keys or pools.
const ONCE: [&str; 6] =
    ["rustls", "rustls-webpki", "webpki-roots", "ring", "tokio", "postgres-types"];

/// Name, version, source, checksum of each locked package that is not our own.
fn locked() -> Vec<[String; 4]> {
    let lock: toml::Table = fs::read_to_string("Cargo.lock").unwrap().parse().unwrap();
    let text = |package: &toml::Value, field: &str| {
        package.get(field).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
    };
    let packages = lock["package"].as_array().unwrap().iter();
    let packages =
        packages.map(|it| ["name", "version", "source", "checksum"].map(|field| text(it, field)));
    packages.filter(|it| it[0] != env!("CARGO_PKG_NAME")).collect()
}

#[test]
fn every_crate_comes_from_the_registry_with_a_checksum() {
    for [name, version, source, checksum] in locked() {
        assert_eq!(
            source, "registry+https://github.com/rust-lang/crates.io-index",
            "{name} {version}"
        );
        assert_eq!(checksum.len(), 64, "{name} {version}");
    }
}

#[test]
fn no_crate_is_there_that_is_known_to_be_bad_and_cryptography_is_there_once() {
    let locked = locked();
    for (name, why) in BANNED {
        assert!(locked.iter().all(|it| it[0] != name), "{name}: {why}");
    }
    for name in ONCE {
        let versions: Vec<&str> =
            locked.iter().filter(|it| it[0] == name).map(|it| it[1].as_str()).collect();
        assert_eq!(versions.len(), 1, "{name}: {versions:?}");
    }
}

/// What cargo prints.
fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_licence_is_a_permissive_one() {
    // Crates for other systems were not fetched for this build.
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let args =
        ["metadata", "--offline", "--locked", "--format-version=1", "--filter-platform", host];
    let metadata: Value = serde_json::from_str(&cargo(&args)).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let (name, licence) = (&package["name"], package["license"].as_str());
        assert!(licence.is_some_and(may_be_used), "{name}: {licence:?}");
    }
}

/// Whether an SPDX expression can be met by licences of the list. `/` is an old way to write `OR`.
fn may_be_used(expression: &str) -> bool {
    let met = |part: &str| {
        let part = part.trim().trim_matches(['(', ')']);
        let licence = part.split(" WITH ").next().unwrap_or_default().trim();
        LICENCES.contains(&licence)
    };
    let all = |part: &str| part.split(" AND ").all(met);
    // A group within parentheses has all of its alternatives looked at; that is strict enough.
    match expression.split_once(") AND ").or_else(|| expression.split_once(" AND (")) {
        Some((left, right)) => may_be_used(left) && may_be_used(right),
        None => expression.replace('/', " OR ").split(" OR ").any(all),
    }
}

#[test]
fn alternatives_and_sums_of_licences_are_told_apart() {
    assert!(may_be_used("MIT OR GPL-3.0") && may_be_used("MIT/Apache-2.0"));
    assert!(may_be_used("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(may_be_used("Apache-2.0 WITH LLVM-exception"));
    assert!(!may_be_used("MIT AND GPL-3.0") && !may_be_used("GPL-3.0"));
    assert!(!may_be_used("(MIT OR Apache-2.0) AND GPL-3.0"));
}
