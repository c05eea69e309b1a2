//! The type of all codes, which the lines of the catalogue are written into.

/// Writes the catalogue once: meaning, variant, wire name, severity, hint.
macro_rules! catalogue {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $name:literal, $severity:ident, $hint:literal;)+) => {
        /// Every diagnostic code, with its severity and what the reader can do about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[doc = $meaning])+ $variant,)+ }

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

            /// What was found.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => concat!($($meaning,)+).trim_ascii(),)+ }
            }

            /// What the reader can do about it.
            pub fn hint(self) -> &'static str {
                match self { $(Code::$variant => $hint,)+ }
            }
        }
    };
}
