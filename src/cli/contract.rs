//! What of the contract's own descriptors names flags.
//!
//! All else in them, comments above all, is passed over unread: to hold it would cost a command a megabyte.

use prost::Message;

use panamax_kubernetes_adapter_client as proto;

/// The package of the contract.
pub const PACKAGE: &str = "panamax.kubernetes.v1";

/// The files that the binary carries: a `google.protobuf.FileDescriptorSet`, by its numbers.
#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(message, repeated, tag = "1")]
    file: Vec<File>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    message_type: Vec<Kind>,
    #[prost(message, repeated, tag = "5")]
    enum_type: Vec<Enum>,
    #[prost(message, repeated, tag = "6")]
    service: Vec<Service>,
}

/// A message of the contract.
#[derive(Clone, PartialEq, Message)]
pub struct Kind {
    #[prost(string, tag = "1")]
    name: String,
    /// Its fields.
    #[prost(message, repeated, tag = "2")]
    pub fields: Vec<Field>,
}

/// A field of a message.
#[derive(Clone, PartialEq, Message)]
pub struct Field {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The whole name of the message or enum that it is; empty for others.
    #[prost(string, tag = "6")]
    type_name: String,
}

/// An enum of the contract.
#[derive(Clone, PartialEq, Message)]
pub struct Enum {
    #[prost(string, tag = "1")]
    name: String,
    /// Its values.
    #[prost(message, repeated, tag = "2")]
    pub values: Vec<Value>,
}

/// A value of an enum.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(message, repeated, tag = "2")]
    method: Vec<Method>,
}

#[derive(Clone, PartialEq, Message)]
struct Method {
    #[prost(string, tag = "2")]
    input_type: String,
}

/// The files of the contract.
pub struct Contract(Vec<File>);

impl Contract {
    /// The contract that the binary carries; `None` if it cannot be read.
    pub fn carried() -> Option<Self> {
        let set = Set::decode(proto::DESCRIPTOR_SET).ok()?;
        Some(Self(set.file.into_iter().filter(|file| file.package == PACKAGE).collect()))
    }

    /// What each of its calls is asked with.
    pub fn requests(&self) -> impl Iterator<Item = &Kind> {
        let methods = self.0.iter().flat_map(|file| &file.service).flat_map(|service| &service.method);
        methods.filter_map(|method| self.named(&method.input_type))
    }

    /// The message that a field is.
    pub fn message(&self, field: &Field) -> Option<&Kind> {
        self.named(&field.type_name)
    }

    /// The enum that a field is.
    pub fn values(&self, field: &Field) -> Option<&Enum> {
        let name = own(&field.type_name)?;
        self.0.iter().flat_map(|file| &file.enum_type).find(|kind| kind.name == name)
    }

    fn named(&self, name: &str) -> Option<&Kind> {
        let name = own(name)?;
        self.0.iter().flat_map(|file| &file.message_type).find(|message| message.name == name)
    }
}

/// A whole name without the contract's package; `None` if it is of another.
fn own(name: &str) -> Option<&str> {
    name.strip_prefix('.')?.strip_prefix(PACKAGE)?.strip_prefix('.')
}
