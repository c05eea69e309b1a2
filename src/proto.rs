//! Holds the code generated from the contract, and its descriptor set.

#![allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated code is not ours to style")]

use std::fmt;

tonic::include_proto!("panamax.kubernetes.v1");

/// The contract as an encoded `FileDescriptorSet`, imports and comments included; reflection serves it.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// Writes a Debug that shows the named fields alone, for messages that carry values of variables.
macro_rules! redacted {
    ($($message:ident { $($field:ident),* })*) => { $(
        impl fmt::Debug for $message {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter
                    .debug_struct(stringify!($message))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    )* };
}

redacted! {
    DeployRequest { namespace, name, options }
    Environment { variable }
    FieldChange { path }
    Image { name, source }
    PlanDeployRequest { namespace, name, options }
    PlanDeployResponse { changes, diagnostics, warnings, plan_id }
    Template { name, images }
    TranslateTemplateRequest { namespace, name, options }
    TranslateTemplateResponse { objects, diagnostics }
    TranslatedObject { r#ref, component }
    ValidateTemplateRequest { namespace, name, options }
    ValidateTemplateResponse { valid, diagnostics }
}
