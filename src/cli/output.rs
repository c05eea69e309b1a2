//! Answers as JSON or YAML: the JSON mapping of proto3, by the descriptors that the contract was compiled to.

use std::io::Write;

use clap::ValueEnum;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use super::failure::{Failure, REFUSED};
use panamax_kubernetes_adapter_client as proto;

/// Form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// The JSON form of the response of the contract; one line for each message of a stream.
    Json,
    /// The same, as a YAML document.
    Yaml,
}

const PACKAGE: &str = "panamax.kubernetes.v1";

/// A message as JSON; `name` is its name in the contract.
fn json(message: &impl Message, name: &str) -> Result<serde_json::Value, String> {
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).map_err(|error| error.to_string())?;
    let descriptor = pool.get_message_by_name(&format!("{PACKAGE}.{name}"));
    let descriptor = descriptor.ok_or_else(|| format!("{name} is not in the contract"))?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice());
    let message = message.map_err(|error| error.to_string())?;
    let options = SerializeOptions::new().skip_default_fields(true);
    let serialized = message.serialize_with_options(serde_json::value::Serializer, &options);
    serialized.map_err(|error| error.to_string())
}

/// Writes a message in a form for programs; each is a line of JSON, or a document of YAML.
pub fn print(out: &mut dyn Write, message: &impl Message, name: &str, format: Format) -> Result<(), Failure> {
    let failed = |why: String| Failure::new(REFUSED, format!("the answer cannot be written as asked: {why}"));
    let value = json(message, name).map_err(failed)?;
    let written = match format {
        Format::Yaml => {
            let text = serde_saphyr::to_string(&value).map_err(|error| failed(error.to_string()))?;
            writeln!(out, "---\n{}", text.trim_end())
        }
        Format::Json | Format::Text => writeln!(out, "{value}"),
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format) -> String {
        let message = proto::ValidateTemplateResponse { valid: true, ..Default::default() };
        let mut out = Vec::new();
        assert!(print(&mut out, &message, "ValidateTemplateResponse", format).is_ok());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_have_the_forms_for_programs() {
        assert_eq!(printed(Format::Json), "{\"valid\":true}\n");
        assert_eq!(printed(Format::Yaml), "---\nvalid: true\n");
    }
}
