//! The files that a command line names: templates, what overrides them, what their images say of themselves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::{Failure, REFUSED, both, shown};
use super::findings::{OVERRIDE, Texts};
use super::options::OptionArgs;
use super::overriding;
use super::words;
use crate::grpc;
use panamax_kubernetes_adapter_client as proto;

/// The most that is read of a file: more than any request may hold.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// How deep folders of image configurations may nest: no name of an image has more parts.
const MAX_DEPTH: usize = 16;

/// What goes with a template.
#[derive(Args, Clone, Debug, Default)]
pub struct AroundArgs {
    /// Namespace [default: the adapter's, or `default` where none is asked]
    #[arg(short, long, value_parser = words::text(), value_name = "NAME")]
    pub namespace: Option<String>,

    /// Name of the deployment [default: made from the template's name]
    #[arg(long, value_parser = words::text(), value_name = "NAME")]
    pub name: Option<String>,

    /// File that overrides parts of the template, in the same form; images are matched by name
    #[arg(long = "override", value_name = "FILE")]
    overriding: Option<PathBuf>,

    /// Configurations of images, as `crane config IMAGE` prints them: IMAGE=FILE, a folder of files called after their
    /// images (`mysql:8.json`), or a JSON object of all; may be given several times
    #[arg(long, value_parser = words::text(), value_name = "FILE|FOLDER")]
    image_configs: Vec<String>,

    #[command(flatten)]
    pub options: OptionArgs,
}

/// What stands for standard input among files.
const STDIN: &str = "-";

impl AroundArgs {
    /// Refuses what cannot be meant beside these files: a key that is named twice, and standard input, which can be read
    /// once.
    pub fn check(&self, files: &[PathBuf]) -> Result<(), Failure> {
        let configs = self.image_configs.iter().map(|named| named.rsplit('=').next().unwrap_or(named));
        let named = files.iter().chain(&self.overriding).filter(|file| file.as_os_str() == STDIN).count();
        if named + configs.filter(|file| *file == STDIN).count() > 1 {
            return Err(Failure::usage("`-` is named twice, and standard input can be read once"));
        }
        self.options.check()
    }
}

/// A template, read, and all that goes with it.
#[derive(Clone, Default)]
pub struct Source {
    name: String,
    /// The template's text.
    pub text: String,
    overriding: Option<(String, String)>,
    /// What overrides it.
    pub r#override: Option<proto::Template>,
    /// What reading that file has found, which the adapter cannot see: it gets the fields alone.
    about_override: Vec<proto::Diagnostic>,
    /// What its images say of themselves.
    pub image_configs: BTreeMap<String, String>,
}

impl Source {
    /// Reads a template and all that goes with it; tells of every file that cannot be used.
    pub fn read(file: &Path, around: &AroundArgs) -> Result<Self, Failure> {
        let (around, (name, text)) = both(Self::around(around), text(file))?;
        Ok(Self { name, text, ..around })
    }

    /// Reads a template beside what goes with it.
    pub fn of(self, file: &Path) -> Result<Self, Failure> {
        let (name, text) = text(file)?;
        Ok(Self { name, text, ..self })
    }

    /// Reads what goes with a template.
    pub fn around(around: &AroundArgs) -> Result<Self, Failure> {
        let is_strict = around.options.is_strict();
        let overriding = around.overriding.as_deref().map(text);
        let mut image_configs = BTreeMap::new();
        let mut read = Ok(());
        for named in &around.image_configs {
            read = both(read, configs(named, &mut image_configs)).map(|_| ());
        }
        let (overriding, ()) = both(overriding.transpose(), read)?;
        let (encoded, found) =
            overriding.as_ref().map(|(_, text)| overriding::read(text, is_strict)).unwrap_or_default();
        let mut about_override: Vec<_> = found.iter().map(grpc::diagnostic).collect();
        about_override.iter_mut().for_each(|found| found.field = format!("{OVERRIDE}{}", found.field));
        Ok(Self { overriding, r#override: encoded, about_override, image_configs, ..Self::default() })
    }

    /// What reading the override has found.
    pub fn about_override(&self) -> &[proto::Diagnostic] {
        &self.about_override
    }

    /// Whether something that was found in reading the override refuses it.
    pub fn is_refused(&self) -> bool {
        self.about_override.iter().any(|found| found.severity() == proto::Severity::Error)
    }

    /// The refusal of the override alone.
    pub fn refusal(&self) -> Failure {
        Failure { code: REFUSED, text: self.texts().show_all(&self.about_override) }
    }

    /// Findings of an answer, behind those that reading the override has found.
    pub fn all(&self, found: Vec<proto::Diagnostic>) -> Vec<proto::Diagnostic> {
        self.about_override.iter().cloned().chain(found).collect()
    }

    /// The texts, for findings about them.
    pub fn texts(&self) -> Texts<'_> {
        let overriding = self.overriding.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        Texts::new((&self.name, &self.text), overriding)
    }

    /// The name to show.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The text of a file and the name to show for it; `-` is standard input.
fn text(file: &Path) -> Result<(String, String), Failure> {
    let (name, bytes) = if file.as_os_str() == STDIN {
        ("<stdin>".to_owned(), read(std::io::stdin().lock()))
    } else {
        (shown(&file.display().to_string()), File::open(file).and_then(read))
    };
    let bytes = bytes.map_err(|error| unreadable(&name, &error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        let at = good + 1;
        Failure::usage(format!(
            "{name}:{line}: this is no text in UTF-8 from byte {at} on; save the file as UTF-8"
        ))
    })?;
    Ok((name, text))
}

/// Reads everything; fails if that is more than 16 MiB.
pub fn read(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it is larger than 16 MiB"));
    }
    Ok(bytes)
}

/// The failure of a file that cannot be read.
pub fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    let why = match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    };
    Failure::usage(format!("{name} cannot be read: {why}"))
}

/// Reads configurations of images in each of the three forms. What has none is not what was meant.
fn configs(named: &str, into: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    let before = into.len();
    read_configs(named, into)?;
    if into.len() > before {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--image-configs: {named} has no configuration of an image; in a folder each is called after its image, as `mysql:8.json`"
    )))
}

fn read_configs(named: &str, into: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    let path = Path::new(named);
    if path.is_dir() {
        return folder(path, "", MAX_DEPTH, into);
    }
    if let Some((image, file)) = named.split_once('=').filter(|_| !path.exists()) {
        if image.is_empty() || file.is_empty() {
            return Err(Failure::usage("--image-configs: write IMAGE=FILE, with both"));
        }
        return add(image.to_owned(), text(Path::new(file))?.1, into);
    }
    let (name, text) = text(path)?;
    let refused = || {
        Failure::usage(format!(
            "--image-configs: {name} is no JSON object of images and their configurations"
        ))
    };
    let read: serde_json::Value = serde_json::from_str(&text).map_err(|_| refused())?;
    if is_of_one(&read) {
        let text = format!("--image-configs: {name} is the configuration of one image; write IMAGE={name}");
        return Err(Failure::usage(text));
    }
    let serde_json::Value::Object(all) = read else { return Err(refused()) };
    for (image, config) in all {
        let config = match config {
            serde_json::Value::String(text) => text,
            serde_json::Value::Object(_) => config.to_string(),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_) => return Err(refused()),
        };
        add(image, config, into)?;
    }
    Ok(())
}

/// Whether this is what `crane config` or `docker image inspect` print of one image, and no object of several: a key of a
/// configuration stands where the name of an image would, and no configuration under it.
fn is_of_one(read: &serde_json::Value) -> bool {
    let inner = |value: &serde_json::Value| ["config", "Config"].iter().any(|key| value.get(key).is_some());
    let of_one = |value: &serde_json::Value| {
        !value.is_string() || value.as_str().is_some_and(|text| !text.contains('{'))
    };
    let keys = ["architecture", "Architecture", "config", "Config", "rootfs", "RootFS"];
    let read = read.as_array().and_then(|all| all.first()).unwrap_or(read);
    keys.iter().filter_map(|key| read.get(key)).any(|value| !inner(value) && of_one(value))
}

/// Adds an image's configuration, which it has once.
fn add(image: String, config: String, into: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    if into.contains_key(&image) {
        return Err(Failure::usage(format!("--image-configs: `{image}` is named twice")));
    }
    into.insert(image, config);
    Ok(())
}

/// Reads the files of a folder, each called after its image.
fn folder(
    path: &Path,
    above: &str,
    depth: usize,
    into: &mut BTreeMap<String, String>,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| unreadable(&path.display().to_string(), &error);
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            if depth == 0 {
                return Err(Failure::usage(format!("{} is nested too deep", path.display())));
            }
            folder(&entry.path(), &format!("{above}{name}/"), depth - 1, into)?;
        } else if let Some(image) = name.strip_suffix(".json") {
            add(format!("{above}{image}"), text(&entry.path())?.1, into)?;
        }
    }
    Ok(())
}
