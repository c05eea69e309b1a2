//! Templates that several tests deploy.

/// The seed's own example: WordPress linked to MySQL.
pub const WORDPRESS: &str = "\
name: Wordpress with MySQL
images:
- name: WP
  source: centurylink/wordpress:3.9.1
  environment:
    - variable: DB_PASSWORD
      value: pass@word01
    - variable: DB_NAME
      value: wordpress
  links:
  - service: DB
    alias: DB_1
  ports:
  - host_port: 8000
    container_port: 80
- name: DB
  source: centurylink/mysql:5.5
  environment:
    - variable: MYSQL_ROOT_PASSWORD
      value: pass@word01
  ports:
  - host_port: 3306
    container_port: 3306
";

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
