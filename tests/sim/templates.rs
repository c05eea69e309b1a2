//! The templates that schedules deploy: small, and each different from the others in its own way.
//!
//! Each has a name of its own, so that an answer tells which of them stands.

/// A template of this name with these components.
macro_rules! template {
    ($name:literal, $($component:expr),+) => { concat!("name: ", $name, "\nimages:\n", $($component),+) };
}

/// A database of this version, without a password.
macro_rules! database {
    ($version:literal) => {
        concat!("- name: DB\n  source: example/db:", $version, "\n  expose: [5432]\n")
    };
}

/// A database of this version, with a password.
macro_rules! secret_database {
    ($version:literal) => {
        concat!(database!($version), "  environment: [{variable: DB_PASSWORD, value: quiet}]\n")
    };
}

/// A web server in one bare Pod, linked to the database, with these lines between.
macro_rules! one_web {
    ($more:literal) => {
        concat!(
            "- name: WEB\n  source: example/web:1\n  ports: [{container_port: 80, host_port: 8080}]\n",
            $more,
            "  links: [{service: DB, alias: DB}]\n"
        )
    };
}

/// Two web servers of this image behind one controller, linked to the database.
macro_rules! two_webs {
    ($image:literal) => {
        concat!(
            "- name: WEB\n  source: example/",
            $image,
            "\n  ports: [{container_port: 80}]\n",
            "  deployment: {count: 2}\n  links: [{service: DB, alias: DB}]\n"
        )
    };
}

/// What the cluster never takes: see `Road`.
macro_rules! cursed {
    () => {
        "- name: CURSED\n  source: example/cursed:1\n"
    };
}

/// Two bare Pods with a Service each, one linked to the other.
pub const PODS: &str = template!("Pods", secret_database!(1), one_web!(""));

/// The same with another image, and a variable that a running Pod cannot be given.
pub const PODS_CHANGED: &str = template!(
    "Pods changed",
    secret_database!(2),
    one_web!("  environment: [{variable: COLOUR, value: red}]\n")
);

/// A ReplicationController of two, beside a bare Pod.
pub const MANY: &str = template!("Many", database!(1), two_webs!("web:1"));

/// The same with another image for both of the controller's pods.
pub const MANY_CHANGED: &str = template!("Many changed", database!(1), two_webs!("web:2"));

/// One component less and another one more.
pub const OTHER: &str = "\
name: Other
images:
- name: WEB
  source: example/web:3
  ports: [{container_port: 80}, {container_port: 81}]
  deployment: {count: 2}
- name: CACHE
  source: example/cache:1
  expose: [6379]
";

/// A change of both Pods, and a third that the cluster never takes.
pub const CURSED: &str = template!(
    "Shop",
    secret_database!(2),
    one_web!("  environment: [{variable: COLOUR, value: red}]\n"),
    cursed!()
);

/// The same for a ReplicationController.
pub const MANY_CURSED: &str = template!("Shop", database!(1), two_webs!("web:2"), cursed!());

/// A change that is written whole and never runs, with a component more.
pub const MANY_CRASHING: &str = template!(
    "Crashing",
    database!(1),
    two_webs!("crashing:2"),
    "- name: CACHE\n  source: example/cache:1\n"
);

/// A component more, whose Service the cluster does not let go at once: see `Road`.
pub const MANY_KEPT: &str = template!(
    "Kept",
    database!(1),
    two_webs!("web:1"),
    "- name: KEPT\n  source: example/kept:1\n  ports: [{container_port: 81}]\n  deployment: {count: 2}\n"
);
