//! The commands that need no adapter and no cluster: validate and translate.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::failure::{Failure, REFUSED, both, shown};
use super::findings;
use super::output::{Format, print};
use super::source::{AroundArgs, Source};
use crate::grpc;
use panamax_kubernetes_adapter_client as proto;
use panamax_kubernetes_adapter_client::translate_template_request::TemplateSource as Translated;
use panamax_kubernetes_adapter_client::validate_template_request::TemplateSource as Validated;

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
                let read = self.files.iter().map(|file| Source::default().of(file).map(|_| ()));
                return read.fold(Err(failure), |all, one| both(all, one).map(|_| ()));
            }
        };
        let mut worst = 0;
        for file in &self.files {
            let failed = match around.clone().of(file).and_then(|source| self.one(&source, out, err)) {
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

    fn one(&self, source: &Source, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        let answer = grpc::validate(self.request(source));
        let mut answer = answer.map_err(|status| Failure::call(&status, &source.texts()))?;
        answer.diagnostics = source.all(answer.diagnostics);
        say(err, source, &answer.diagnostics)?;
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
        let answer = match grpc::translate(self.request(&source)) {
            Ok(answer) => answer,
            Err(status) => return Err(self.refused(&status, &source)),
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

    /// A refusal holds the first errors; a validation all of them, and the warnings beside.
    fn refused(&self, status: &tonic::Status, source: &Source) -> Failure {
        let found = grpc::validate(validation(source, &self.around));
        let found = found.map(|answer| source.all(answer.diagnostics));
        match found {
            Ok(found) if found.iter().any(|one| one.severity() == proto::Severity::Error) => {
                let count = findings::count(&found);
                let text =
                    format!("{}{}: refused, {count}\n", source.texts().show_all(&found), source.name());
                Failure { code: REFUSED, text }
            }
            _ => Failure::call(status, &source.texts()),
        }
    }
}
