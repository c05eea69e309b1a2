//! Diagnostic: what a template's reader or translator found, assumed or could not carry over.

/// How much a diagnostic weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Tells what was decided; nothing is lost.
    Info,
    /// Something was lost, changed or assumed; refused when the caller asks for STRICT.
    Warning,
    /// The template cannot be used; nothing is written.
    Error,
}

/// One finding about a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable code; severity and hint follow from it.
    pub code: Code,
    /// What was found, in one sentence that never quotes a value of the environment.
    pub message: String,
    /// Where in the template, as `images[1].ports[0].host_port`; empty when it concerns the whole text.
    pub field: String,
    /// Where in the text, when the template came as text.
    pub position: Option<Position>,
}

/// A place in a template's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl Diagnostic {
    /// Makes a diagnostic that has no place in a text.
    pub fn new(code: Code, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: field.into(),
            position: None,
        }
    }

    /// Adds the place in the text.
    #[must_use]
    pub fn at(mut self, position: Option<Position>) -> Self {
        self.position = position;
        self
    }

    /// The severity of its code.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// Whether it refuses the template.
    pub fn is_error(&self) -> bool {
        self.severity() == Severity::Error
    }
}

/// Writes the catalogue once: variant, wire name, severity, hint.
macro_rules! catalogue {
    ($($(#[$meaning:meta])+ $variant:ident = $name:literal, $severity:ident, $hint:literal;)+) => {
        /// Every diagnostic code, with its severity and what the reader can do about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$meaning])+ $variant,)+ }

        impl Code {
            /// Every code, in the catalogue's order.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The stable name that callers see.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name,)+ }
            }

            /// How much it weighs.
            pub fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)+ }
            }

            /// What the reader can do about it.
            pub fn hint(self) -> &'static str {
                match self { $(Code::$variant => $hint,)+ }
            }
        }
    };
}

catalogue! {
    /// A link names an image that the template does not have.
    LinkTargetMissing = "LINK_TARGET_MISSING", Error,
        "add the image, or correct the link's service";
    /// The component runs as a ReplicationController and stays one, whatever its count.
    ControllerKept = "CONTROLLER_KEPT", Info,
        "tear the deployment down and deploy it again to get a bare Pod";
    /// The replicas on the cluster were left as somebody set them.
    ReplicasKept = "REPLICAS_KEPT", Info,
        "change deployment.count, or call Scale";
    /// The replicas on the cluster were set back because the template's count changed.
    ReplicasTakenBack = "REPLICAS_TAKEN_BACK", Info,
        "call Scale to set them again";
    /// Pods of an earlier revision were deleted at once, so the component was interrupted.
    PodsReplaced = "PODS_REPLACED", Warning,
        "expect an interruption until the new pods are ready";
}
