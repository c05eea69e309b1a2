//! The token of a page of deployments: where the page begins, bound to the request that it goes on with.

use super::ListCall;
use crate::artifacts::digest_of;
use crate::error::{Error, ErrorKind, Fault, Result, contract_word};

/// What begins and ends the part that leads into a page; the API server's own tokens have none.
const WITHIN: &str = "~";
/// What lies between the digest of the request and the rest.
const BOUND: char = '.';

/// Where a page of deployments begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PageToken {
    /// A digest of the request.
    pub(super) bound: String,
    /// The deployment after which the page begins; `None`: with the first of the API server's page.
    pub(super) after: Option<String>,
    /// The API server's own token.
    pub(super) token: String,
}

impl PageToken {
    /// Reads the token of a request.
    ///
    /// Fails with PAGE_TOKEN_EXPIRED if it is none of ours, and with INVALID_ARGUMENT if another request has begun the
    /// list: its pages are of other deployments.
    pub(super) fn read(call: &ListCall) -> Result<Self> {
        let bound = bound(call);
        if call.page_token.is_empty() {
            return Ok(Self { bound, ..Self::default() });
        }
        let (was, rest) = call.page_token.split_once(BOUND).ok_or_else(unknown)?;
        if was.len() != bound.len() {
            return Err(unknown());
        }
        if was != bound {
            let text = "is of a list with another namespace, label_selector or states; send these as they were, or \
                        start again without it";
            return Err(Error::fields(vec![Fault::field("page_token", text)]));
        }
        let within = rest.strip_prefix(WITHIN).and_then(|rest| rest.split_once(WITHIN));
        let (after, token) = within.map_or((None, rest), |(after, token)| (Some(after.to_owned()), token));
        Ok(Self { bound, after, token: token.to_owned() })
    }

    /// The token as a caller is given it.
    pub(super) fn written(&self) -> String {
        let within = self.after.as_ref().map(|after| format!("{WITHIN}{after}{WITHIN}")).unwrap_or_default();
        format!("{}{BOUND}{within}{}", self.bound, self.token)
    }
}

fn unknown() -> Error {
    let text = "the page token is too old or was not issued here; start again without it";
    Error::new(ErrorKind::PageTokenExpired, text)
}

/// A digest of what decides which deployments a list has; how many a page holds and how much is told of each may differ.
fn bound(call: &ListCall) -> String {
    let namespace = call.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut states: Vec<String> = call.states.iter().map(contract_word).collect();
    states.sort();
    states.dedup();
    digest_of(&[&namespace, &call.label_selector, &states.join(",")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::{DeploymentState, Namespace};

    fn call(page_token: &str) -> ListCall {
        ListCall {
            namespace: Some(Namespace::new("jj").expect("a namespace")),
            page_size: 1,
            page_token: page_token.to_owned(),
            label_selector: "team=web".to_owned(),
            states: vec![DeploymentState::Active],
            full: false,
        }
    }

    #[test]
    fn a_token_goes_on_with_the_list_that_it_came_from_and_with_no_other() {
        let start = PageToken::read(&call("")).expect("the first page");
        for after in [None, Some("jj/shop".to_owned())] {
            let next = PageToken { token: "abc.~def".to_owned(), after, ..start.clone() };
            let token = next.written();
            assert_eq!(PageToken::read(&call(&token)).expect("its own"), next);
            assert_eq!(PageToken::read(&ListCall { page_size: 7, full: true, ..call(&token) }).expect("it"), next);
            for other in [
                ListCall { namespace: None, ..call(&token) },
                ListCall { label_selector: "team=db".to_owned(), ..call(&token) },
                ListCall { states: Vec::new(), ..call(&token) },
            ] {
                let error = PageToken::read(&other).expect_err("another list");
                assert!(error.message().contains("page_token"), "{}", error.message());
            }
        }
        for foreign in ["eyJ2IjoibWV0YSJ9", "a.b"] {
            let error = PageToken::read(&call(foreign)).expect_err("none of ours");
            assert_eq!(error.kind(), ErrorKind::PageTokenExpired);
        }
    }
}
