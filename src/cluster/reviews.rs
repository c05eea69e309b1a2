//! Asks the API server who a token belongs to, and what somebody may do.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use super::Cluster;
use crate::artifacts::Namespace;
use crate::error::Result;

/// Who somebody is, in the words of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: String,
    /// The user's uid; empty: none.
    pub uid: String,
    /// The groups that the user is in.
    pub groups: Vec<String>,
    /// What the authenticator says beside that.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What is to be done to a kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right {
    /// The verb, as `create`.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, as `pods`.
    pub resource: &'static str,
}

impl Cluster {
    /// Asks who a token belongs to; `None`: to nobody, or it is not meant for any of the audiences.
    pub async fn review_token(&self, token: &str, audiences: &[String]) -> Result<Option<Identity>> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(audiences.to_vec()) },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let parameters = PostParams::default();
        let reviewed = self.call("review a token", || api.create(&parameters, &review)).await;
        let reviewed = reviewed.map_err(|failure| failure.into_error("TokenReview", ""))?;
        let status = reviewed.status.unwrap_or_default();
        // An authenticator that knows no audiences says none: its tokens are meant for everybody, and so for nobody.
        let is_meant = status.audiences.iter().flatten().any(|one| audiences.contains(one));
        let is_known = status.authenticated == Some(true) && is_meant;
        let user = status.user.filter(|_| is_known);
        Ok(user.map(|user| Identity {
            user: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        }))
    }

    /// Asks whether somebody has a right in a namespace; `None`: in all of them, or to what is in none.
    pub async fn review_access(
        &self,
        who: &Identity,
        right: Right,
        namespace: Option<&Namespace>,
    ) -> Result<bool> {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(who.user.clone()),
                uid: text(&who.uid),
                groups: Some(who.groups.clone()),
                extra: Some(who.extra.clone()).filter(|extra| !extra.is_empty()),
                resource_attributes: Some(ResourceAttributes {
                    namespace: namespace.map(ToString::to_string),
                    verb: text(right.verb),
                    group: Some(right.group.to_owned()),
                    resource: text(right.resource),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let parameters = PostParams::default();
        let reviewed = self.call("review a right", || api.create(&parameters, &review)).await;
        let reviewed = reviewed.map_err(|failure| failure.into_error("SubjectAccessReview", ""))?;
        Ok(reviewed.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
    }
}
