//! A release: everything that is handed out, in one folder, from a tree in which everything is committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::archive::{self, File};
use crate::bill;
use crate::compile::{self, Built, TARGETS, Target};
use crate::error::{Error, Result, failed};
use crate::image::{Contents, Image, empty, sha256};
use crate::sources::{self, NAME, Sources};

/// The file that lists the digests of all others.
pub const SUMS: &str = "SHA256SUMS";

/// The shells that complete commands, each with the file that it looks for.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "panamax-kubernetes-adapter.bash"),
    ("zsh", "_panamax-kubernetes-adapter"),
    ("fish", "panamax-kubernetes-adapter.fish"),
];

/// What a release hands out.
#[derive(Debug)]
pub struct Release {
    /// The files, by name; the list of digests is the last.
    pub files: Vec<File>,
    /// The kinds of machines that it is not made for, each with the reason.
    pub skipped: Vec<String>,
}

/// The names of all files of a release, in order.
pub fn names(version: &str, targets: &[Target]) -> Vec<String> {
    let mut names = Vec::new();
    for target in targets {
        names.extend(["tar.gz", "image.tar", "cdx.json"].map(|kind| of_target(version, target, kind)));
    }
    names.push(common(version, ".binpb"));
    names.push(common(version, "-protos.tar.gz"));
    names.sort();
    names.push(SUMS.to_owned());
    names
}

fn of_target(version: &str, target: &Target, kind: &str) -> String {
    common(version, &format!("-{}.{kind}", target.triple))
}

fn common(version: &str, rest: &str) -> String {
    format!("{NAME}-{version}{rest}")
}

/// Makes a release from a checkout, with the certificates of these authorities in its images.
pub fn make(sources: &Sources, authorities: &Path) -> Result<Release> {
    let (mut targets, mut skipped) = (Vec::new(), Vec::new());
    for target in TARGETS {
        match target.lacks()? {
            None => targets.push(target),
            Some(lacks) => skipped.push(lacks),
        }
    }
    if targets.is_empty() {
        return Err(Error::new(format!("nothing can be built here: {}", skipped.join("; "))));
    }
    // What the program tells of itself is told by the one that runs here.
    targets.sort_by_key(|target| !target.is_here());
    let mut files = Vec::new();
    let mut told = None;
    for target in &targets {
        let built = compile::build(sources, target)?;
        if told.is_none() {
            files.push(File::new(common(&sources.version, ".binpb"), read(&built.descriptors)?));
            told = Some(manuals(&built.program)?);
        }
        let manuals = told.clone().unwrap_or_default();
        files.extend(of_machine(sources, target, &built, manuals, authorities)?);
    }
    files.push(File::new(common(&sources.version, "-protos.tar.gz"), protos(sources)?));
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let sums = sums(&files);
    files.push(File::new(SUMS, sums));
    let made: Vec<&String> = files.iter().map(|file| &file.path).collect();
    if made != names(&sources.version, &targets).iter().collect::<Vec<_>>() {
        return Err(Error::new(format!("a release has other files than it lists: {made:?}")));
    }
    Ok(Release { files, skipped })
}

/// The program in an archive, its image and its bill of materials.
fn of_machine(
    sources: &Sources,
    target: &Target,
    built: &Built,
    manuals: Vec<File>,
    authorities: &Path,
) -> Result<[File; 3]> {
    let image = Image::of(&Contents::collect(&built.program, authorities, false)?, target.architecture)?;
    let name = |kind| of_target(&sources.version, target, kind);
    let mut files = vec![File::program(NAME, read(&built.program)?)];
    for page in ["CHANGELOG.md", "LICENSE", "README.md"] {
        files.push(File::new(page, read(&sources.root.join(page))?));
    }
    files.extend(manuals);
    let folder = format!("{NAME}-{}", sources.version);
    Ok([
        File::new(name("tar.gz"), archive::gzip(&archive::tar(&below(&folder, files), sources.time)?)?),
        File::new(name("image.tar"), archive::tar(&image.layout(), sources.time)?),
        File::new(name("cdx.json"), bill::write(sources, target)?),
    ])
}

/// Puts files into a folder, so that unpacking them litters no other.
fn below(folder: &str, files: Vec<File>) -> Vec<File> {
    files.into_iter().map(|file| File { path: format!("{folder}/{}", file.path), ..file }).collect()
}

/// What shells and `man` read: told by the program itself.
fn manuals(program: &Path) -> Result<Vec<File>> {
    let told = |arguments: &[&str]| sources::output(Command::new(program).args(arguments));
    let mut files = Vec::new();
    for (shell, name) in SHELLS {
        files.push(File::new(format!("completion/{name}"), told(&["completion", shell])?));
    }
    files.push(File::new(format!("man/{NAME}.1"), told(&["man"])?));
    for command in commands(&told(&["--help"])?) {
        let page = told(&["man", &command])?;
        files.push(File::new(format!("man/{NAME}-{command}.1"), page));
    }
    Ok(files)
}

/// The commands that a help text lists.
pub fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| line.starts_with(' '));
    // What explains a command further is indented more.
    let lines = lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let names = lines.filter_map(|line| line.split(' ').next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The contract with what it imports, in one folder for `-I`.
fn protos(sources: &Sources) -> Result<Vec<u8>> {
    let mut files = vec![File::new("LICENSE", read(&sources.root.join("LICENSE"))?)];
    for root in ["proto", "third_party"] {
        let listed = sources::git(&sources.root, &["ls-files", "-z", "--", root])?;
        for path in listed.split('\0').filter(|path| Path::new(path).extension() == Some("proto".as_ref())) {
            let inner = path.trim_start_matches(root).trim_start_matches('/');
            files.push(File::new(inner, read(&sources.root.join(path))?));
        }
    }
    let folder = format!("{NAME}-{}-protos", sources.version);
    archive::gzip(&archive::tar(&below(&folder, files), sources.time)?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(failed("read", path))
}

/// The digests of files, as `sha256sum --check` reads them.
pub fn sums(files: &[File]) -> String {
    files.iter().map(|file| format!("{}  {}\n", sha256(&file.bytes), file.path)).collect()
}

impl Release {
    /// Writes it into a folder, in place of what is in it.
    pub fn write(&self, folder: &Path) -> Result<()> {
        empty(folder)?;
        for file in &self.files {
            let path: PathBuf = folder.join(&file.path);
            fs::write(&path, &file.bytes).map_err(failed("write", &path))?;
        }
        Ok(())
    }

    /// What it is, a line for each file and for each machine that it is not made for.
    pub fn told(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for file in &self.files {
            let kilobytes = file.bytes.len().div_ceil(1024);
            lines.push(format!("{kilobytes:>8} KiB  {}  {}", sha256(&file.bytes), file.path));
        }
        lines.extend(self.skipped.iter().map(|skipped| format!("skipped: {skipped}")));
        lines.join("\n")
    }
}
