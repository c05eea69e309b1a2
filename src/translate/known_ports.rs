//! The usual ports of well-known images, for links to an image whose template lists none.
//!
//! Docker read them from the image itself; here the name of its repository has to do. The numbers are the ports
//! for clients that each project documents and that its official image exposes (`EXPOSE` in the Dockerfile, or the
//! project's manual where there is no official image); the main one is the lowest, because a link's first
//! variable names the lowest port. Ports for talk among nodes of a cluster are left out.

/// Repository name, ports, and where they are documented.
const KNOWN: &[(&str, &[u16], &str)] = &[
    ("activemq", &[61616], "activemq.apache.org: openwire"),
    ("apache", &[80], "hub.docker.com/_/httpd"),
    ("apache2", &[80], "hub.docker.com/_/httpd"),
    ("arangodb", &[8529], "hub.docker.com/_/arangodb"),
    ("beanstalkd", &[11300], "beanstalkd.github.io"),
    ("cassandra", &[9042, 9160], "hub.docker.com/_/cassandra"),
    ("consul", &[8500], "hub.docker.com/_/consul: HTTP API"),
    ("couchbase", &[8091], "hub.docker.com/_/couchbase"),
    ("couchdb", &[5984], "hub.docker.com/_/couchdb"),
    ("drupal", &[80], "hub.docker.com/_/drupal"),
    ("elasticsearch", &[9200, 9300], "hub.docker.com/_/elasticsearch"),
    ("etcd", &[2379], "etcd.io: client port"),
    ("ghost", &[2368], "hub.docker.com/_/ghost"),
    ("gitlab", &[80], "docs.gitlab.com: Docker image"),
    ("grafana", &[3000], "grafana.com/docs: http_port"),
    ("graphite", &[2003], "graphite.readthedocs.io: plaintext"),
    ("httpd", &[80], "hub.docker.com/_/httpd"),
    ("influxdb", &[8086], "hub.docker.com/_/influxdb"),
    ("jenkins", &[8080, 50000], "hub.docker.com/_/jenkins"),
    ("joomla", &[80], "hub.docker.com/_/joomla"),
    ("kafka", &[9092], "kafka.apache.org: listeners"),
    ("kibana", &[5601], "hub.docker.com/_/kibana"),
    ("mariadb", &[3306], "hub.docker.com/_/mariadb"),
    ("mediawiki", &[80], "hub.docker.com/_/mediawiki"),
    ("memcached", &[11211], "hub.docker.com/_/memcached"),
    ("mongo", &[27017], "hub.docker.com/_/mongo"),
    ("mongodb", &[27017], "hub.docker.com/_/mongo"),
    ("mysql", &[3306], "hub.docker.com/_/mysql"),
    ("nats", &[4222], "hub.docker.com/_/nats"),
    ("neo4j", &[7474, 7687], "hub.docker.com/_/neo4j"),
    ("nginx", &[80], "hub.docker.com/_/nginx"),
    ("percona", &[3306], "hub.docker.com/_/percona"),
    ("phpmyadmin", &[80], "hub.docker.com/_/phpmyadmin"),
    ("postgis", &[5432], "hub.docker.com/_/postgres"),
    ("postgres", &[5432], "hub.docker.com/_/postgres"),
    ("postgresql", &[5432], "hub.docker.com/_/postgres"),
    ("rabbitmq", &[5672], "hub.docker.com/_/rabbitmq: AMQP"),
    ("redis", &[6379], "hub.docker.com/_/redis"),
    ("redmine", &[3000], "hub.docker.com/_/redmine"),
    ("registry", &[5000], "hub.docker.com/_/registry"),
    ("rethinkdb", &[28015], "hub.docker.com/_/rethinkdb: driver port"),
    ("riak", &[8087, 8098], "docs.riak.com: protocol buffers, HTTP"),
    ("sentry", &[9000], "hub.docker.com/_/sentry"),
    ("solr", &[8983], "hub.docker.com/_/solr"),
    ("tomcat", &[8080], "hub.docker.com/_/tomcat"),
    ("wordpress", &[80], "hub.docker.com/_/wordpress"),
    ("zookeeper", &[2181], "hub.docker.com/_/zookeeper"),
];

/// Words that say the image only accompanies the one it is named after.
const COMPANIONS: &[&str] = &[
    "admin",
    "agent",
    "backup",
    "cli",
    "client",
    "commander",
    "data",
    "dump",
    "exporter",
    "proxy",
    "sidekick",
    "slave",
    "ui",
    "web",
];

/// The usual ports of an image by its repository's name; none if the name matches no entry or several.
///
/// The whole name counts first, then its words, as in `docker-mysql`; two known words contradict each other.
pub(super) fn of(repository: &str) -> &'static [u16] {
    if let Some(ports) = lookup(repository) {
        return ports;
    }
    let words = || repository.split(['-', '_', '.']);
    if words().any(|word| COMPANIONS.contains(&word)) {
        return &[];
    }
    let mut found = words().filter_map(lookup);
    match (found.next(), found.next()) {
        (Some(only), None) => only,
        _ => &[],
    }
}

fn lookup(name: &str) -> Option<&'static [u16]> {
    KNOWN.iter().find(|(known, _, _)| *known == name).map(|(_, ports, _)| *ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_sourced_and_its_main_port_lowest() {
        assert!(KNOWN.is_sorted_by(|left, right| left.0 < right.0));
        for (name, ports, source) in KNOWN {
            assert!(!source.is_empty() && ports.is_sorted() && !ports.is_empty(), "{name}");
        }
    }

    #[test]
    fn names_are_read_whole_then_by_words() {
        assert_eq!(of("mysql"), [3306]);
        assert_eq!(of("docker-mysql"), [3306]);
        assert_eq!(of("my-own-rabbitmq_server"), [5672]);
        assert!(of("nginx-wordpress").is_empty());
        assert!(of("mysql-client").is_empty());
        assert!(of("mysqlish").is_empty());
        assert!(of("app").is_empty());
    }
}
