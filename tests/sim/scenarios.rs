//! What schedules are made of: what was there before, what is asked, and what is asked when a fault has struck.

use super::outside::Deed;
use super::replica::{Answer, Ask};
use super::road::Fault;
use super::templates::{
    CURSED, MANY, MANY_CHANGED, MANY_CRASHING, MANY_CURSED, MANY_KEPT, OTHER, PODS, PODS_CHANGED,
};
use super::world::{self, Stage};

/// What was asked before, and what is asked under a fault.
pub struct Scenario {
    pub name: &'static str,
    before: &'static [Ask],
    /// What somebody has done to what was there before the question.
    done: Option<Deed>,
    /// What somebody does between two calls: the one fault of this scenario.
    pub meanwhile: Option<Deed>,
    pub asked: Ask,
}

/// How many there are.
pub const COUNT: usize = 44;

pub static SCENARIOS: [Scenario; COUNT] = [
    of("first", &[], Ask::Deploy(PODS)),
    of("unchanged", &[Ask::Deploy(PODS)], Ask::Deploy(PODS)),
    of("update", &[Ask::Deploy(PODS)], Ask::Deploy(PODS_CHANGED)),
    of("named-first", &[], Ask::Named(PODS)),
    of("named", &[Ask::Deploy(PODS)], Ask::Named(PODS_CHANGED)),
    of("rollout", &[Ask::Deploy(MANY)], Ask::Deploy(MANY_CHANGED)),
    of("scale", &[Ask::Deploy(MANY)], Ask::Scale("WEB", 4)),
    of("convert", &[Ask::Deploy(PODS)], Ask::Scale("WEB", 2)),
    of("teardown", &[Ask::Deploy(MANY)], Ask::Teardown),
    of("get", &[Ask::Deploy(MANY)], Ask::Get),
    of("rollback", &[Ask::Deploy(PODS), Ask::Deploy(PODS_CHANGED)], Ask::Rollback(1)),
    of("rollback-many", &[Ask::Deploy(MANY), Ask::Deploy(OTHER)], Ask::Rollback(1)),
    of("on-failure", &[Ask::Deploy(PODS)], Ask::OrBack(CURSED)),
    of("on-failure-many", &[Ask::Deploy(MANY)], Ask::OrBack(MANY_CURSED)),
    of("on-failure-ready", &[Ask::Deploy(MANY)], Ask::ReadyOrBack(MANY_CRASHING)),
    of("kept", &[Ask::Deploy(MANY_KEPT)], Ask::Deploy(MANY_CHANGED)),
    of("watch", &[Ask::Deploy(MANY)], Ask::Watch),
    of("plan-first", &[], Ask::Plan(PODS)),
    of("plan", &[Ask::Deploy(PODS)], Ask::Plan(PODS_CHANGED)),
    of("plan-many", &[Ask::Deploy(MANY)], Ask::Plan(OTHER)),
    of("planned", &[Ask::Deploy(PODS)], Ask::Planned(PODS_CHANGED)),
    after("forced", Deed::Edit, Ask::Forced(MANY_CHANGED)),
    after("yielded", Deed::Edit, Ask::Yielded(MANY_CHANGED)),
    after("image-taken", Deed::Image, Ask::Forced(MANY_CHANGED)),
    after("image-taken-back", Deed::Image, Ask::Forced(MANY)),
    amid("image-refused", Deed::Image, Ask::Deploy(MANY_CHANGED)),
    amid("image-forced", Deed::Image, Ask::Forced(MANY_CHANGED)),
    amid("image-yielded", Deed::Image, Ask::Yielded(MANY_CHANGED)),
    amid("image-planned", Deed::Image, Ask::Planned(MANY_CHANGED)),
    after("selected", Deed::Select, Ask::Forced(MANY_CHANGED)),
    after("deleted", Deed::Delete, Ask::Deploy(MANY_CHANGED)),
    after("counted", Deed::Scale, Ask::Deploy(MANY_CHANGED)),
    after("plan-edited", Deed::Edit, Ask::PlanForced(MANY_CHANGED)),
    amid("edit-refused", Deed::Edit, Ask::Deploy(MANY_CHANGED)),
    amid("edit-forced", Deed::Edit, Ask::Forced(MANY_CHANGED)),
    amid("edit-yielded", Deed::Edit, Ask::Yielded(MANY_CHANGED)),
    amid("edit-planned", Deed::Edit, Ask::Planned(MANY_CHANGED)),
    amid("select-forced", Deed::Select, Ask::Forced(MANY_CHANGED)),
    amid("select-refused", Deed::Select, Ask::Yielded(MANY_CHANGED)),
    amid("delete", Deed::Delete, Ask::Deploy(MANY_CHANGED)),
    amid("kill", Deed::Kill, Ask::Deploy(MANY_CHANGED)),
    amid("count", Deed::Scale, Ask::Deploy(MANY_CHANGED)),
    amid("replace", Deed::Replace, Ask::Forced(MANY_CHANGED)),
    amid("copy", Deed::Copy, Ask::Forced(MANY_CHANGED)),
];

const fn of(name: &'static str, before: &'static [Ask], asked: Ask) -> Scenario {
    Scenario { name, before, done: None, meanwhile: None, asked }
}

/// A question about what somebody has changed.
const fn after(name: &'static str, deed: Deed, asked: Ask) -> Scenario {
    Scenario { name, before: &[Ask::Deploy(MANY)], done: Some(deed), meanwhile: None, asked }
}

/// A question while somebody writes, too.
const fn amid(name: &'static str, deed: Deed, asked: Ask) -> Scenario {
    Scenario { name, before: &[Ask::Deploy(MANY)], done: None, meanwhile: Some(deed), asked }
}

impl Scenario {
    /// What every schedule begins with, brought about once; `None` for an empty world.
    pub fn stage(&self) -> Option<Stage> {
        if self.before.is_empty() {
            return None;
        }
        Some(world::run(1, async |world| {
            let replicas = (world.replica('c'), world.replica('d'));
            for ask in self.before {
                assert_eq!(replicas.0.ask(ask).await, Answer::Done, "what was before");
                world.settle().await.expect("rest before the question");
            }
            if let Some(deed) = self.done {
                assert!(world.outsider().does(deed).await, "what somebody has done before");
                world.settle().await.expect("rest before the question");
            }
            world.stage()
        }))
    }

    /// The same question without the promise to keep an eye on what comes of it; `None` if it makes none.
    pub fn without_promise(&self) -> Option<Self> {
        let Ask::ReadyOrBack(template) = self.asked else { return None };
        Some(Self { asked: Ask::OrBack(template), ..*self })
    }

    /// The single faults that this scenario is tried with.
    pub fn faults(&self) -> Vec<Fault> {
        self.meanwhile.map_or_else(|| Fault::ALL.to_vec(), |deed| vec![Fault::Outside(deed)])
    }

    pub fn sequels(&self) -> &'static [Sequel] {
        use Sequel::{Again, Forced, Nobody, Other, Scale, Teardown};
        match (&self.asked, self.meanwhile) {
            (Ask::Get | Ask::Watch | Ask::Plan(_) | Ask::PlanForced(_), _) => &[Again],
            // What is refused because of what somebody else has done is not asked again in the same words.
            (Ask::Deploy(_) | Ask::Planned(_), Some(Deed::Edit | Deed::Image)) => &[Forced, Teardown],
            (Ask::Yielded(_), Some(Deed::Select)) => &[Forced, Teardown],
            (Ask::Yielded(_), Some(_)) => &[Again, Forced, Teardown],
            (_, Some(_)) => &[Again, Teardown],
            // Nobody brings back what somebody has deleted, or what is ours to say.
            _ if matches!(self.done, Some(Deed::Delete | Deed::Select)) => &[Again, Teardown],
            (Ask::Yielded(_), None) => &[Again, Forced, Teardown, Nobody],
            _ if self.done.is_some() => &[Again, Teardown, Nobody],
            _ => &[Again, Other, Scale, Teardown, Nobody],
        }
    }

    /// Whether it changes nothing.
    pub fn only_looks(&self) -> bool {
        matches!(self.asked, Ask::Get | Ask::Watch | Ask::Plan(_) | Ask::PlanForced(_))
    }
}

/// What is asked when a fault has struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sequel {
    /// The same request again.
    Again,
    /// Another template.
    Other,
    /// The same template, whatever others have written.
    Forced,
    /// A count.
    Scale,
    /// The end of everything.
    Teardown,
    /// Nothing: whoever is left sees to it.
    Nobody,
}

impl Sequel {
    pub const ALL: [Self; 6] =
        [Self::Again, Self::Other, Self::Forced, Self::Scale, Self::Teardown, Self::Nobody];

    pub fn ask(self, scenario: &Scenario) -> Option<Ask> {
        match self {
            Self::Again => Some(scenario.asked.clone()),
            Self::Other => Some(Ask::Deploy(OTHER)),
            Self::Forced => Some(Ask::Forced(scenario.asked.template())),
            Self::Scale => Some(Ask::Scale("WEB", 3)),
            Self::Teardown => Some(Ask::Teardown),
            Self::Nobody => None,
        }
    }
}
