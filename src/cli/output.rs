//! Where answers go, and their forms for programs: the JSON mapping of proto3, by the contract's own descriptors.

use std::io::{self, ErrorKind, Write};

use clap::ValueEnum;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use super::contract::PACKAGE;
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

/// An output whose reader may leave: the command then goes on without a word, and ends as it would have ended.
pub struct Stream<W> {
    inner: W,
    is_left: bool,
}

/// What a command writes to.
pub trait Output: Write {
    /// Whether nobody reads any more.
    fn is_left(&self) -> bool;
}

impl<W: Write> Stream<W> {
    /// An output that somebody reads.
    pub fn new(inner: W) -> Self {
        Self { inner, is_left: false }
    }

    /// Writes unless the reader has left; `otherwise` is what then counts as written.
    fn told<T>(&mut self, otherwise: T, write: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.is_left {
            return Ok(otherwise);
        }
        match write(&mut self.inner) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_left = true;
                Ok(otherwise)
            }
            written => written,
        }
    }
}

impl<W: Write> Write for Stream<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.told(bytes.len(), |inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.told((), W::flush)
    }
}

impl<W: Write> Output for Stream<W> {
    fn is_left(&self) -> bool {
        self.is_left
    }
}

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

    /// A pipe that somebody reads for so many bytes.
    struct Pipe(usize);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            if self.0 == 0 { Err(ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_reader_that_has_left_ends_nothing() {
        let mut out = Stream::new(Pipe(4));
        assert!(out.write_all(b"abc").is_ok() && out.flush().is_ok() && !out.is_left());
        assert!(out.write_all(b"defg").is_ok() && out.is_left());
        assert!(out.write_all(b"hij").is_ok() && out.flush().is_ok());
        let mut out = Stream::new(Pipe(3));
        assert!(out.write_all(b"abc").is_ok() && !out.is_left());
        assert!(out.flush().is_ok() && out.is_left());
    }

    #[test]
    fn messages_have_the_forms_for_programs() {
        assert_eq!(printed(Format::Json), "{\"valid\":true}\n");
        assert_eq!(printed(Format::Yaml), "---\nvalid: true\n");
    }
}
