//! Templates that several tests deploy.

/// The seed's own example: WordPress linked to MySQL.
pub const WORDPRESS: &str = include_str!("../../examples/wordpress.pmx");

/// A component with a Secret that nobody runs, so that nothing but the test moves.
pub const STILL: &str = "name: Still\nimages:\n- name: web\n  source: example/web:1\n  ports: [{host_port: 8080, \
                     container_port: 80}]\n  environment: [{variable: A_PASSWORD, value: first-secret}]\n  \
                     deployment: {count: 0}\n";

/// The seed's example with a count for WP.
pub fn wordpress_at(count: u32) -> String {
    WORDPRESS.replace("  links:\n", &format!("  deployment:\n    count: {count}\n  links:\n"))
}

/// Components in a row, each with a port of its own and linked to the one before it: a Pod and, but for the
/// last, a Service for each.
pub fn chain(components: usize) -> String {
    let mut text = "name: Chain\nimages:\n".to_owned();
    for index in 0..components {
        let port = 7000 + index;
        text.push_str(&format!(
            "- name: C{index}\n  source: example/component:{index}\n  expose: [{port}]\n"
        ));
        if let Some(before) = index.checked_sub(1) {
            text.push_str(&format!("  links:\n  - service: C{before}\n    alias: UP{before}\n"));
        }
    }
    text
}

/// Components in a row, each with a secret, a volume and a link to the one before it.
pub fn rich_chain(components: usize) -> String {
    let mut text = "name: Rich\nimages:\n".to_owned();
    for index in 0..components {
        let (port, path) = (7000 + index, format!("/data{index}"));
        text.push_str(&format!(
            "- name: C{index}\n  source: example/component:{index}\n  expose: [{port}]\n  volumes: [{{container_path: {path}}}]\n  environment: [{{variable: A_PASSWORD, value: s{index}}}]\n"
        ));
        if let Some(before) = index.checked_sub(1) {
            text.push_str(&format!("  links: [{{service: C{before}, alias: C{before}}}]\n"));
        }
    }
    text
}
