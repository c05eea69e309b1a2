//! The token of a page of deployments: where it begins, and of which list it is.

use sha2::{Digest, Sha256};

use super::ListCall;
use crate::error::{Error, ErrorKind, Fault, Result};

/// What begins and ends the part of a page token that leads into a page; the API server's own tokens have none.
const WITHIN: &str = "~";
/// What ends the part that stands for the list; the API server's own tokens have none of these either.
const OF: char = '.';
/// The bytes of the digest that stands for a list.
const DIGEST: usize = 6;

/// Where a page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The list that it is a page of.
    list: String,
    /// Where the API server's page begins; empty: at the start.
    pub token: String,
    /// The deployment that it begins behind, where it begins within such a page.
    pub after: Option<String>,
}

impl Page {
    /// The page that a call asks for.
    ///
    /// Fails with FIELD_INVALID if the token is of a list with other fields, and with PAGE_TOKEN_EXPIRED if it is none of
    /// ours.
    pub fn of(call: &ListCall) -> Result<Self> {
        let list = list(call);
        if call.page_token.is_empty() {
            return Ok(Self { list, ..Self::default() });
        }
        let Some((of, rest)) = call.page_token.split_once(OF).filter(|(of, _)| of.len() == list.len()) else {
            return Err(Error::new(
                ErrorKind::PageTokenExpired,
                "the page token was not issued here; start again without it",
            ));
        };
        if of != list {
            let text = "is of a list with other fields; send namespace, label_selector, states and view as they were then";
            return Err(Error::fields(vec![Fault::field("page_token", text)]));
        }
        let within = rest.strip_prefix(WITHIN).and_then(|rest| rest.split_once(WITHIN));
        let (after, token) = within.map_or((None, rest), |(after, token)| (Some(after.to_owned()), token));
        Ok(Self { list, token: token.to_owned(), after })
    }

    /// The token of the page that begins where the API server says; empty if there is none.
    pub fn next(&self, token: Option<String>) -> String {
        token.map_or_else(String::new, |token| format!("{}{OF}{token}", self.list))
    }

    /// The token of the page that begins behind this deployment of the present one.
    pub fn behind(&self, namespace: &str, name: &str) -> String {
        format!("{}{OF}{WITHIN}{}{WITHIN}{}", self.list, place(namespace, name), self.token)
    }

    /// Whether a deployment of the API server's page is on this one.
    pub fn has(&self, namespace: &str, name: &str) -> bool {
        self.after.as_ref().is_none_or(|after| place(namespace, name) > *after)
    }
}

/// Where a deployment stands in a list: as the API server orders them.
pub fn place(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// What stands for all that must be the same on every page.
fn list(call: &ListCall) -> String {
    let namespace = call.namespace.as_ref().map(|namespace| namespace.as_str());
    let states = call.states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(",");
    let view = if call.full { "full" } else { "basic" };
    let all = [namespace.unwrap_or("-"), &call.label_selector, &states, view].join("\n");
    Sha256::digest(all).iter().take(DIGEST).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::Namespace;

    fn call(namespace: &str, states: &[crate::status::DeploymentState], page_token: String) -> ListCall {
        ListCall {
            namespace: Namespace::new(namespace).ok(),
            page_size: 2,
            page_token,
            label_selector: String::new(),
            states: states.to_vec(),
            full: false,
        }
    }

    #[test]
    fn a_token_is_of_its_list_alone() {
        let first = Page::of(&call("shop", &[], String::new())).unwrap();
        for token in [first.next(Some("eyJ2IjoibWV0YSJ9".to_owned())), first.behind("shop", "web")] {
            let page = Page::of(&call("shop", &[], token.clone())).unwrap();
            assert_eq!(page.after.is_some(), page.token.is_empty());
            let bigger = ListCall { page_size: 9, ..call("shop", &[], token.clone()) };
            assert!(Page::of(&bigger).is_ok(), "how many are asked for is no part of the list");
            let active = [crate::status::DeploymentState::Active];
            for other in [call("other", &[], token.clone()), call("shop", &active, token.clone())] {
                assert_eq!(Page::of(&other).unwrap_err().kind(), ErrorKind::FieldInvalid);
            }
        }
        for foreign in ["bogus", "a.b", "~shop/web~"] {
            let error = Page::of(&call("shop", &[], foreign.to_owned())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PageTokenExpired, "{foreign}");
        }
        assert_eq!(first.next(None), "");
    }
}
