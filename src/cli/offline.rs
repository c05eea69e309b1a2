//! The commands that need no adapter and no cluster: validate and translate.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use tonic_types::StatusExt;

use super::contract::PACKAGE;
use super::failure::{Failure, REFUSED, both, reason, shown};
use super::findings::{self, OVERRIDE};
use super::output::{Format, print};
use super::source::{AroundArgs, Source};
use crate::grpc;
use panamax_kubernetes_adapter_client as proto;
use panamax_kubernetes_adapter_client::translate_template_request::TemplateSource as Translated;
use panamax_kubernetes_adapter_client::validate_template_request::TemplateSource as Validated;

/// A template in which nothing is found: what is said beside it is said of the flags.
const SOUND: &str = "name: a\nimages: [{name: a, source: 'a:1'}]\n";

/// Check templates and tell everything found; needs no adapter
#[derive(Args, Clone, Debug)]
pub struct ValidateArgs {
    /// Templates, in YAML or JSON; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    pub around: AroundArgs,

    /// Form of the answer on standard output
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Format,
}

/// Translate a template to manifests, for `kubectl apply -f -`; needs no adapter
#[derive(Args, Clone, Debug)]
pub struct TranslateArgs {
    /// Template, in YAML or JSON; `-` is standard input
    pub file: PathBuf,

    #[command(flatten)]
    pub around: AroundArgs,

    /// Form of the manifests on standard output
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Manifests,
}

/// Form of manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Manifests {
    /// A document for each object.
    #[default]
    Yaml,
    /// One List.
    Json,
}

impl ValidateArgs {
    /// The request for one of the files.
    pub fn request(&self, source: &Source) -> proto::ValidateTemplateRequest {
        validation(source, &self.around)
    }

    /// Says everything there is to say about each template; fails as the worst of them does.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        let around = match Source::around(&self.around) {
            Ok(around) => around,
            // Without it nothing can be said of a template but that it cannot be read.
            Err(failure) => {
                let mut all = Err(failure);
                for file in &self.files {
                    all = both(all, Source::default().of(file)).map(|_| ());
                }
                return all;
            }
        };
        let mut worst = 0;
        let mut write = |text: &str| {
            let told = err.write_all(shown(text).as_bytes());
            told.map_err(|error| Failure::output(&error))
        };
        // What is said of the flags and of the override holds for every file.
        let flags = flags(&around, &self.around);
        if let Some(flags) = &flags {
            write(&flags.failure.text)?;
            worst = flags.failure.code;
        }
        write(&around.texts().show_all(around.about_override()))?;
        let is_usable = flags.is_none() && !around.is_refused();
        let flags = flags.unwrap_or_default();
        for file in &self.files {
            let one = |source: Source| self.one(&source, &flags, is_usable, out, err);
            let failed = match around.clone().of(file).and_then(one) {
                Ok(()) => continue,
                Err(failure) => failure,
            };
            worst = worst.max(failed.code);
            // The one after it may be well. Where nobody can be told, the code says what is wrong.
            let told = err.write_all(shown(&failed.text).as_bytes());
            worst = worst.max(told.map_or_else(|error| Failure::output(&error).code, |()| 0));
        }
        if worst == 0 { Ok(()) } else { Err(Failure { code: worst, text: String::new() }) }
    }

    fn one(
        &self,
        source: &Source,
        flags: &Flags,
        is_usable: bool,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<(), Failure> {
        let answer = grpc::validate(without(self.request(source), &flags.fields));
        let mut answer = answer.map_err(|status| Failure::call(&status, &source.texts()))?;
        say(err, source, &answer.diagnostics)?;
        answer.diagnostics = [flags.found.clone(), source.all(answer.diagnostics)].concat();
        for found in answer.diagnostics.iter_mut().filter(|found| found.field == OVERRIDE) {
            found.field = OVERRIDE.trim_end_matches('.').to_owned();
        }
        answer.valid &= is_usable;
        if self.output == Format::Text {
            let verdict = if answer.valid { "valid" } else { "refused" };
            let count = findings::count(&answer.diagnostics);
            let written = writeln!(out, "{}: {verdict}, {count}", source.name());
            written.map_err(|error| Failure::output(&error))?;
        } else {
            print(out, &answer, "ValidateTemplateResponse", self.output)?;
        }
        if answer.valid { Ok(()) } else { Err(Failure { code: REFUSED, text: String::new() }) }
    }
}

/// The request that validates a template.
pub fn validation(source: &Source, around: &AroundArgs) -> proto::ValidateTemplateRequest {
    proto::ValidateTemplateRequest {
        namespace: around.namespace.clone().unwrap_or_default(),
        name: around.name.clone().unwrap_or_default(),
        template_source: Some(Validated::TemplateYaml(source.text.clone())),
        r#override: source.r#override.clone(),
        options: Some(around.options.encoded()),
        image_configs: source.image_configs.clone(),
    }
}

/// Writes findings to standard error.
fn say(err: &mut dyn Write, source: &Source, found: &[proto::Diagnostic]) -> Result<(), Failure> {
    if found.is_empty() {
        return Ok(());
    }
    let shown = source.texts().show_all(found);
    err.write_all(shown.as_bytes()).map_err(|error| Failure::output(&error))
}

impl TranslateArgs {
    /// The request.
    pub fn request(&self, source: &Source) -> proto::TranslateTemplateRequest {
        let is_json = self.output == Manifests::Json;
        proto::TranslateTemplateRequest {
            namespace: self.around.namespace.clone().unwrap_or_default(),
            name: self.around.name.clone().unwrap_or_default(),
            template_source: Some(Translated::TemplateYaml(source.text.clone())),
            r#override: source.r#override.clone(),
            options: Some(self.around.options.encoded()),
            // The answer has all of them as one YAML text anyway.
            format: if is_json { proto::ManifestFormat::Json.into() } else { 0 },
            object_manifests: is_json,
            image_configs: source.image_configs.clone(),
        }
    }

    /// Writes the manifests to standard output and what was found to standard error.
    pub fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        let source = Source::read(&self.file, &self.around)?;
        if let Some(refused) =
            Some(&source).filter(|one| one.is_refused()).and_then(|one| refused(one, &self.around))
        {
            return Err(refused);
        }
        let answer = match grpc::translate(self.request(&source)) {
            Ok(answer) => answer,
            Err(status) => {
                let all = refused(&source, &self.around);
                return Err(all.unwrap_or_else(|| Failure::call(&status, &source.texts())));
            }
        };
        say(err, &source, &source.all(answer.diagnostics))?;
        let written = match self.output {
            Manifests::Yaml => out.write_all(answer.manifest_yaml.as_bytes()),
            Manifests::Json => {
                let items: Vec<&str> = answer.objects.iter().map(|object| object.manifest.as_str()).collect();
                let items = items.join(",\n");
                writeln!(out, "{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n{items}\n]}}")
            }
        };
        written.map_err(|error| Failure::output(&error))
    }
}

/// Everything that refuses a template, and the warnings beside: a refusal holds the first errors, and none of the template
/// where a flag is wrong. `None`: a validation finds nothing that refuses it.
pub fn refused(source: &Source, around: &AroundArgs) -> Option<Failure> {
    let flags = flags(source, around);
    let is_wrong = flags.is_some();
    let Flags { failure, fields, found } = flags.unwrap_or_default();
    let answer = grpc::validate(without(validation(source, around), &fields)).ok()?;
    let of_texts = source.all(answer.diagnostics);
    let is_refused = of_texts.iter().any(|one| one.severity() == proto::Severity::Error);
    if !is_wrong && !is_refused {
        return None;
    }
    let shown = source.texts().show_all(&of_texts);
    let count = findings::count(&[found, of_texts].concat());
    let text = format!("{}{shown}{}: refused, {count}\n", failure.text, source.name());
    Some(Failure { code: failure.code.max(REFUSED), text })
}

/// What is wrong with the flags that go with a template.
#[derive(Default)]
struct Flags {
    /// How it is told.
    failure: Failure,
    /// The fields of the request that say it: without these, the template itself can be judged.
    fields: Vec<String>,
    /// The same as findings, for whoever reads these alone.
    found: Vec<proto::Diagnostic>,
}

fn flags(source: &Source, around: &AroundArgs) -> Option<Flags> {
    let sound = proto::ValidateTemplateRequest {
        template_source: Some(Validated::TemplateYaml(SOUND.to_owned())),
        r#override: None,
        ..validation(source, around)
    };
    let status = grpc::validate(sound).err()?;
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
    let error = |field: &str, code: &str, text: &str| {
        let (message, hint) = text.split_once("; hint: ").unwrap_or((text, ""));
        proto::Diagnostic {
            severity: proto::Severity::Error.into(),
            code: code.to_owned(),
            message: message.to_owned(),
            field: field.to_owned(),
            hint: hint.to_owned(),
            ..Default::default()
        }
    };
    let why = reason(&status);
    let mut found: Vec<_> = violations
        .iter()
        .map(|one| {
            error(&one.field, if one.reason.is_empty() { &why } else { &one.reason }, &one.description)
        })
        .collect();
    // A namespace of the cluster's is refused whatever else is right.
    found.extend(found.is_empty().then(|| error("namespace", &why, status.message())));
    let fields = found.iter().map(|one| one.field.clone()).collect();
    Some(Flags { failure: Failure::call(&status, &source.texts()), fields, found })
}

/// A request without these fields, which stand for flags.
fn without(request: proto::ValidateTemplateRequest, fields: &[String]) -> proto::ValidateTemplateRequest {
    let cleared = || {
        let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).ok()?;
        let kind = pool.get_message_by_name(&format!("{PACKAGE}.ValidateTemplateRequest"))?;
        let mut message = DynamicMessage::decode(kind, request.encode_to_vec().as_slice()).ok()?;
        for field in fields {
            let name = field.split('[').next().unwrap_or_default();
            match name.strip_prefix("options.") {
                None => message.clear_field_by_name(name),
                Some(option) => {
                    if let Value::Message(options) = message.get_field_by_name_mut("options")? {
                        options.clear_field_by_name(option);
                    }
                }
            }
        }
        message.transcode_to().ok()
    };
    if fields.is_empty() { request } else { cleared().unwrap_or(request) }
}
