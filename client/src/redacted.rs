//! Leaves values out of what Debug shows of messages that carry them.

use std::fmt;

use crate::*;

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

impl fmt::Debug for Environment {
    /// Shows the name up to its first `:` or `=`: what follows may be a value.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.variable.split([':', '=']).next().unwrap_or_default();
        formatter.debug_struct("Environment").field("variable", &open).finish_non_exhaustive()
    }
}

/// Writes a Debug that shows the form of a template and nothing of its content.
macro_rules! redacted_source {
    ($($request:ident)*) => { $(
        impl fmt::Debug for $request::TemplateSource {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self {
                    Self::TemplateYaml(_) => "TemplateYaml(..)",
                    Self::Template(_) => "Template(..)",
                })
            }
        }
    )* };
}

redacted_source! { deploy_request plan_deploy_request translate_template_request validate_template_request }

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-value";

    fn template() -> Template {
        let variable = Environment {
            variable: "DB_PASSWORD".to_owned(),
            value: Some(CANARY.to_owned()),
            required: true,
        };
        let image = Image {
            name: "DB".to_owned(),
            command: CANARY.to_owned(),
            environment: vec![variable],
            ..Default::default()
        };
        Template { images: vec![image], ..Default::default() }
    }

    fn check(message: impl fmt::Debug, shown: &str) {
        let text = format!("{message:?}");
        assert!(text.contains(shown), "{text} lacks {shown}");
        assert!(!text.contains(CANARY), "{text} holds a value");
    }

    #[test]
    fn debug_of_a_template_shows_names_and_no_values() {
        check(template(), r#"name: "DB""#);
        check(&template().images[0].environment, r#"variable: "DB_PASSWORD""#);
        check(Deployment { template: Some(template()), ..Default::default() }, r#"name: "DB""#);
    }

    #[test]
    fn debug_of_a_variable_shows_its_name_up_to_where_a_value_may_begin() {
        for mark in [':', '='] {
            let variable = format!("DB_PASSWORD{mark}{CANARY}");
            check(Environment { variable, ..Default::default() }, r#"variable: "DB_PASSWORD""#);
        }
    }

    #[test]
    fn debug_of_a_request_shows_its_name_and_no_template() {
        let text = deploy_request::TemplateSource::TemplateYaml(CANARY.to_owned());
        check(&text, "TemplateYaml(..)");
        let request = DeployRequest {
            name: "wp".to_owned(),
            template_source: Some(text),
            r#override: Some(template()),
            ..Default::default()
        };
        check(request, r#"name: "wp""#);
    }

    #[test]
    fn debug_of_a_manifest_or_a_change_shows_no_values() {
        let object = TranslatedObject {
            component: "db".to_owned(),
            manifest: CANARY.to_owned(),
            ..Default::default()
        };
        let translation = TranslateTemplateResponse {
            objects: vec![object],
            manifest_yaml: CANARY.to_owned(),
            ..Default::default()
        };
        check(translation, r#"component: "db""#);
        let field =
            FieldChange { path: "data.password".to_owned(), before: None, after: Some(CANARY.to_owned()) };
        check(ObjectChange { fields: vec![field], ..Default::default() }, "data.password");
    }
}
