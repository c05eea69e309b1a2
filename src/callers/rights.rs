//! What a caller must be allowed, as the API server's authorizers name it, and as the file of rights does.

use std::collections::BTreeSet;

use crate::artifacts::{Kind, Namespace};
pub use crate::cluster::Right;

/// What is asked for; the file of rights has a word for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deed {
    /// GetDeployment.
    Get,
    /// ListDeployments.
    List,
    /// WatchDeployment.
    Watch,
    /// ListRevisions.
    Revisions,
    /// PlanDeploy.
    Plan,
    /// Deploy.
    Deploy,
    /// Scale.
    Scale,
    /// Rollback.
    Rollback,
    /// Teardown.
    Teardown,
    /// The namespace that a Deploy makes.
    CreateNamespace,
}

impl Deed {
    /// Every deed; those that only look come first.
    pub const ALL: [Deed; 10] = [
        Deed::Get,
        Deed::List,
        Deed::Watch,
        Deed::Revisions,
        Deed::Plan,
        Deed::Deploy,
        Deed::Scale,
        Deed::Rollback,
        Deed::Teardown,
        Deed::CreateNamespace,
    ];

    /// Its word in the file of rights.
    pub fn word(self) -> &'static str {
        match self {
            Deed::Get => "get",
            Deed::List => "list",
            Deed::Watch => "watch",
            Deed::Revisions => "revisions",
            Deed::Plan => "plan",
            Deed::Deploy => "deploy",
            Deed::Scale => "scale",
            Deed::Rollback => "rollback",
            Deed::Teardown => "teardown",
            Deed::CreateNamespace => "create-namespace",
        }
    }

    /// Its method of the contract.
    pub fn method(self) -> &'static str {
        match self {
            Deed::Get => "GetDeployment",
            Deed::List => "ListDeployments",
            Deed::Watch => "WatchDeployment",
            Deed::Revisions => "ListRevisions",
            Deed::Plan => "PlanDeploy",
            Deed::Deploy | Deed::CreateNamespace => "Deploy",
            Deed::Scale => "Scale",
            Deed::Rollback => "Rollback",
            Deed::Teardown => "Teardown",
        }
    }

    /// Whether it changes nothing.
    pub fn only_looks(self) -> bool {
        matches!(self, Deed::Get | Deed::List | Deed::Watch | Deed::Revisions | Deed::Plan)
    }
}

/// The kinds that whoever looks at a deployment is shown; no answer shows a Secret.
const SHOWN: [Kind; 5] =
    [Kind::PersistentVolumeClaim, Kind::Service, Kind::ReplicationController, Kind::Deployment, Kind::Pod];

/// What somebody asks to do, and what that takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What.
    pub deed: Deed,
    /// Where; `None`: in all namespaces.
    pub namespace: Option<Namespace>,
    /// The rights that it takes there.
    pub rights: BTreeSet<Right>,
}

impl Ask {
    /// Asks for something that takes no right by itself.
    pub fn new(deed: Deed, namespace: Option<&Namespace>) -> Self {
        let mut ask = Self { deed, namespace: namespace.cloned(), rights: BTreeSet::new() };
        let looks: &[&'static str] = match deed {
            // What is there is part of every answer: kept objects, conflicts, counts.
            Deed::Get
            | Deed::Revisions
            | Deed::Plan
            | Deed::Deploy
            | Deed::Scale
            | Deed::Rollback
            | Deed::Teardown => &["get", "list"],
            Deed::List => &["list"],
            Deed::Watch => &["get", "list", "watch"],
            Deed::CreateNamespace => &[],
        };
        ask.looking(looks);
        ask
    }

    fn looking(&mut self, verbs: &[&'static str]) {
        for kind in SHOWN {
            self.rights.extend(verbs.iter().map(|verb| right(verb, kind)));
        }
    }

    /// Takes also what happened to the objects, if that is asked for.
    #[must_use]
    pub fn with_events(mut self, is_full: bool) -> Self {
        if is_full {
            self.rights.insert(Right { verb: "list", group: "", resource: "events" });
        }
        self
    }

    /// Takes also what a watch takes, if the answer waits for what a watch shows.
    #[must_use]
    pub fn waiting(mut self, waits: bool) -> Self {
        if waits {
            self.looking(&["get", "list", "watch"]);
        }
        self
    }

    /// Takes also these verbs on these kinds.
    #[must_use]
    pub fn with(mut self, verbs: &[&'static str], kinds: impl IntoIterator<Item = Kind>) -> Self {
        for kind in kinds {
            self.rights.extend(verbs.iter().map(|verb| right(verb, kind)));
        }
        self
    }

    /// Asks for more that the same deed has turned out to take: what it takes anyway was asked for.
    pub fn more(deed: Deed, namespace: &Namespace, rights: BTreeSet<Right>) -> Self {
        Self { deed, namespace: Some(namespace.clone()), rights }
    }

    /// Asks for a new namespace.
    pub fn new_namespace(namespace: &Namespace) -> Self {
        let create = Right { verb: "create", group: "", resource: "namespaces" };
        Self::more(Deed::CreateNamespace, namespace, BTreeSet::from([create]))
    }
}

/// The right to do something to a kind of objects.
pub fn right(verb: &'static str, kind: Kind) -> Right {
    Right { verb, group: kind.group(), resource: kind.plural() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_deed_takes_the_right_to_read_secrets() {
        for deed in Deed::ALL {
            let ask = Ask::new(deed, None).with_events(true).waiting(true);
            assert!(ask.rights.iter().all(|right| right.resource != "secrets"), "{deed:?}");
        }
    }

    #[test]
    fn who_looks_takes_rights_to_all_that_is_shown() {
        let list = Ask::new(Deed::List, None);
        assert_eq!(list.rights.len(), SHOWN.len());
        let apply = Ask::new(Deed::Deploy, None);
        assert!(Ask::new(Deed::Get, None).rights.iter().all(|right| apply.rights.contains(right)));
        let apply = Ask::new(Deed::CreateNamespace, None)
            .with(&["create", "patch"], [Kind::Secret, Kind::Deployment]);
        let names: Vec<_> = apply.rights.iter().map(|one| (one.verb, one.group, one.resource)).collect();
        assert_eq!(
            names,
            [
                ("create", "", "secrets"),
                ("create", "apps", "deployments"),
                ("patch", "", "secrets"),
                ("patch", "apps", "deployments"),
            ]
        );
    }
}
