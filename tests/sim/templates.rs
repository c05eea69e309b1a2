//! The templates that schedules deploy: small, and each different from the others in its own way.
//!
//! Each has a name of its own, so that an answer tells which of them stands.

/// Two bare Pods with a Service each, one linked to the other.
pub const PODS: &str = "\
name: Pods
images:
- name: DB
  source: example/db:1
  expose: [5432]
  environment: [{variable: DB_PASSWORD, value: quiet}]
- name: WEB
  source: example/web:1
  ports: [{container_port: 80, host_port: 8080}]
  links: [{service: DB, alias: DB}]
";

/// The same with another image, and a variable that a running Pod cannot be given.
pub const PODS_CHANGED: &str = "\
name: Pods changed
images:
- name: DB
  source: example/db:2
  expose: [5432]
  environment: [{variable: DB_PASSWORD, value: quiet}]
- name: WEB
  source: example/web:1
  ports: [{container_port: 80, host_port: 8080}]
  environment: [{variable: COLOUR, value: red}]
  links: [{service: DB, alias: DB}]
";

/// A ReplicationController of two, beside a bare Pod.
pub const MANY: &str = "\
name: Many
images:
- name: DB
  source: example/db:1
  expose: [5432]
- name: WEB
  source: example/web:1
  ports: [{container_port: 80}]
  deployment: {count: 2}
  links: [{service: DB, alias: DB}]
";

/// The same with another image for both of the controller's pods.
pub const MANY_CHANGED: &str = "\
name: Many changed
images:
- name: DB
  source: example/db:1
  expose: [5432]
- name: WEB
  source: example/web:2
  ports: [{container_port: 80}]
  deployment: {count: 2}
  links: [{service: DB, alias: DB}]
";

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

/// A change of both Pods, and a third that the cluster never takes: see `Road`.
pub const CURSED: &str = "\
name: Shop
images:
- name: DB
  source: example/db:2
  expose: [5432]
  environment: [{variable: DB_PASSWORD, value: quiet}]
- name: WEB
  source: example/web:1
  ports: [{container_port: 80, host_port: 8080}]
  environment: [{variable: COLOUR, value: red}]
  links: [{service: DB, alias: DB}]
- name: CURSED
  source: example/cursed:1
";

/// The same for a ReplicationController.
pub const MANY_CURSED: &str = "\
name: Shop
images:
- name: DB
  source: example/db:1
  expose: [5432]
- name: WEB
  source: example/web:2
  ports: [{container_port: 80}]
  deployment: {count: 2}
  links: [{service: DB, alias: DB}]
- name: CURSED
  source: example/cursed:1
";

/// A change that is written whole and never runs, with a component more.
pub const MANY_CRASHING: &str = "\
name: Crashing
images:
- name: DB
  source: example/db:1
  expose: [5432]
- name: WEB
  source: example/crashing:2
  ports: [{container_port: 80}]
  deployment: {count: 2}
  links: [{service: DB, alias: DB}]
- name: CACHE
  source: example/cache:1
";

/// A component more, whose Service the cluster does not let go at once: see `Road`.
pub const MANY_KEPT: &str = "\
name: Kept
images:
- name: DB
  source: example/db:1
  expose: [5432]
- name: WEB
  source: example/web:1
  ports: [{container_port: 80}]
  deployment: {count: 2}
  links: [{service: DB, alias: DB}]
- name: KEPT
  source: example/kept:1
  ports: [{container_port: 81}]
  deployment: {count: 2}
";
