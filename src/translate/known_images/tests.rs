//! The table holds together, and names are read whole.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn source(text: &str) -> ImageReference {
    ImageReference::new(text).unwrap()
}

/// The ports of an image, as `9000` or `8125/UDP`; those that links need come with a star.
fn ports(text: &str) -> Vec<String> {
    let known = of(&source(text)).map_or(&[][..], |known| known.ports);
    known.iter().map(written).collect()
}

fn written(port: &KnownPort) -> String {
    let protocol = if port.protocol == Protocol::Udp { "/UDP" } else { "" };
    format!("{}{protocol}{}", port.port, if port.links { "*" } else { "" })
}

fn guessed(text: &str) -> Vec<u16> {
    guess(&source(text)).iter().map(|port| port.port.get()).collect()
}

/// The lines of the table that are checked alike: what they are called, sources, ports, directories.
struct Line {
    name: String,
    sources: &'static [&'static str],
    ports: &'static [KnownPort],
    data: &'static [DataDirectory],
}

fn lines() -> Vec<Line> {
    let of_image = |image: &'static KnownImage| {
        let own = Line {
            name: image.repository.to_owned(),
            sources: &image.sources,
            ports: &image.ports,
            data: &image.data,
        };
        let flavours = image.flavours.iter().map(|flavour| Line {
            name: format!("{}:{}", image.repository, flavour.tag),
            sources: &flavour.sources,
            ports: flavour.ports.as_deref().unwrap_or_default(),
            data: flavour.data.as_deref().unwrap_or_default(),
        });
        std::iter::once(own).chain(flavours)
    };
    all().iter().flat_map(of_image).collect()
}

#[test]
fn the_table_can_be_read() {
    let read = Table::read(TEXT).unwrap().images;
    assert_eq!((read.images.len(), read.unlisted.len()), (all().len(), unlisted().len()));
    assert!(all().len() > 150 && !unlisted().is_empty());
}

#[test]
fn every_line_has_its_source() {
    let hub = &TABLE.images.hub;
    let directories = lines().into_iter().flat_map(|line| {
        line.data
            .iter()
            .map(move |directory| (format!("{} {}", line.name, directory.path), &directory.sources[..]))
    });
    let lines = lines().into_iter().map(|line| (line.name, line.sources));
    let unlisted = unlisted().iter().filter_map(|image| match &image.reason {
        Reason::ExposesNothing(sources) => Some((image.repository.to_owned(), &sources[..])),
        Reason::NotFound(_) => None,
    });
    let hub = ("hub".to_owned(), &hub.sources[..]);
    for (name, sources) in lines.chain(directories).chain(unlisted).chain([hub]) {
        assert!(!sources.is_empty(), "{name} has no source");
        for source in sources {
            let path = source.strip_prefix("https://").unwrap_or_default();
            assert!(path.contains('/') && !path.contains(' '), "{name}: {source} is no address of a page");
        }
    }
}

#[test]
fn no_line_contradicts_another() {
    let mut names = BTreeMap::new();
    let mut words = BTreeMap::new();
    for image in all() {
        let repository = image.repository;
        for name in std::iter::once(repository).chain(image.aliases.iter().copied()) {
            let other = names.insert(name, repository);
            assert!(other.is_none(), "{name} is of {repository} and of {other:?}");
            // Another spelling of it would never be found.
            assert_eq!(TABLE.plain_name(&source(name)), name);
            assert_eq!(source(name).repository(), name);
        }
        for word in &image.words {
            let other = words.insert(word, repository);
            assert!(other.is_none(), "{word} means {repository} and {other:?}");
            assert!(!TABLE.says_nothing(word) && !word.contains(['-', '_', '.', '/']), "{word}");
            assert!(image.ports.iter().any(|port| port.links), "{word} guesses no port");
        }
        let mut tags = BTreeSet::new();
        for flavour in &image.flavours {
            let tag = flavour.tag;
            assert!(tags.insert(tag), "{repository} has flavour {tag} twice");
            assert!(!tag.is_empty() && !tag.contains('-') && tag != "latest", "{repository}:{tag}");
            assert!(
                flavour.ports.is_some() || flavour.data.is_some(),
                "{repository}:{tag} differs in nothing"
            );
        }
        assert!(image.user.is_none_or(|user| user.uid != 0), "{repository}");
    }
    let sorted = |official: bool| {
        let of_kind = all().iter().filter(move |image| image.repository.contains('/') != official);
        of_kind.map(|image| &image.repository).is_sorted()
    };
    assert!(sorted(true) && sorted(false));
}

#[test]
fn no_reason_for_a_missing_line_contradicts_the_table() {
    assert!(unlisted().is_sorted_by_key(|image| &image.repository));
    for Unlisted { repository, reason } in unlisted() {
        let repository = *repository;
        // A name of another spelling would not contradict the line that it has.
        assert_eq!(TABLE.plain_name(&source(repository)), repository);
        assert_eq!(source(repository).repository(), repository);
        if let Reason::ExposesNothing(_) = reason {
            assert_eq!(guessed(repository), [0; 0], "{repository} exposes nothing");
        }
    }
}

#[test]
fn a_reason_for_a_missing_line_is_read_strictly() {
    let read = |unlisted: &str| {
        let text = format!(
            "hub: {{registries: [], namespace: library, sources: [https://example.com/hub]}}\nplain_words: []\n\
             images: [{{repository: team/db, aliases: [db], sources: [https://example.com/db]}}]\n\
             unlisted: [{unlisted}]\n"
        );
        // As the build makes it of what people write.
        let table: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        Table::read(table.to_string().leak())
    };
    let reasons = |unlisted: &str| {
        let images = read(unlisted).unwrap().images.unlisted;
        images.into_iter().map(|image| (image.repository, image.reason)).collect::<Vec<_>>()
    };
    let (quiet, lost) = (
        "{repository: team/quiet, why: exposes nothing, sources: [https://example.com/quiet]}",
        "{repository: team/lost, why: not found, looked: repositories of team}",
    );
    assert_eq!(
        reasons(&format!("{quiet}, {lost}")),
        [
            ("team/quiet", Reason::ExposesNothing(vec!["https://example.com/quiet"])),
            ("team/lost", Reason::NotFound("repositories of team")),
        ]
    );
    for (fault, told) in [
        (quiet.replace("quiet,", "db,"), "team/db is unlisted, and elsewhere too"),
        (lost.replace("team/lost", "db"), "db is unlisted, and elsewhere too"),
        (format!("{lost}, {lost}"), "team/lost is unlisted, and elsewhere too"),
        ("{repository: a, why: exposes nothing}".to_owned(), "a exposes nothing: `sources` alone say so"),
        ("{repository: a, why: exposes nothing, sources: []}".to_owned(), "`sources` alone say so"),
        (quiet.replace('}', ", looked: there}"), "`sources` alone say so"),
        ("{repository: a, why: not found}".to_owned(), "a was not found: `looked` alone says where"),
        ("{repository: a, why: not found, looked: ' '}".to_owned(), "`looked` alone says where"),
        (lost.replace('}', ", sources: [https://example.com/lost]}"), "`looked` alone says where"),
        (lost.replace("not found", "forgotten"), "forgotten"),
        (lost.replace('}', ", ports: []}"), "ports"),
    ] {
        let error = read(&fault).err().unwrap_or_default();
        assert!(error.contains(told), "{fault}: {error}");
    }
}

#[test]
fn no_line_contradicts_itself() {
    for Line { name, ports, data, .. } in lines() {
        assert!(ports.is_sorted_by_key(|port| (port.port, port.protocol)), "{name}");
        let numbers: BTreeSet<_> = ports.iter().map(|port| (port.port, port.protocol)).collect();
        assert_eq!(numbers.len(), ports.len(), "{name} has a port twice");
        assert!(ports.is_empty() || ports.iter().any(|port| port.links), "{name}: which port is linked to?");
        for port in ports {
            let named = port.name.unwrap_or("any");
            assert!(
                named.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')),
                "{name} {named}"
            );
        }
        let mut paths = BTreeSet::new();
        for directory in data {
            let path = directory.path;
            let parts = path.strip_prefix('/').unwrap_or_default().split('/');
            let plain = parts.clone().all(|part| !part.is_empty() && part != "." && part != "..");
            assert!(plain, "{name}: {path} is not a plain absolute path");
            assert!(paths.insert(path), "{name} has {path} twice");
            let owner = directory.mode.is_none_or(|mode| mode.0 <= 0o777 && mode.0 & 0o700 == 0o700);
            assert!(owner, "{name}: nobody could use {path}");
        }
    }
}

#[test]
fn names_are_read_whole_whatever_their_spelling() {
    let spellings =
        ["postgres", "library/postgres:9", "docker.io/postgres", "index.docker.io/library/postgres:16"];
    for spelling in spellings {
        assert_eq!(ports(spelling), ["5432*"], "{spelling}");
    }
    for other in
        ["docker.io/team/postgres", "quay.io/postgres", "quay.io/library/postgres", "library/team/postgres"]
    {
        assert!(of(&source(other)).is_none(), "{other}");
    }
    assert_eq!(ports("jenkins:2"), ports("jenkins/jenkins:lts"));
}

#[test]
fn a_tag_tells_the_flavour_and_a_digest_tells_nothing() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for repository in ["wordpress", "drupal", "nextcloud", "joomla", "matomo", "phpmyadmin", "mediawiki"] {
        assert_eq!(ports(&format!("{repository}:6.5-php8.2-fpm-alpine")), ["9000*"], "{repository}");
        assert_eq!(ports(&format!("{repository}:6.5-php8.2-apache")), ["80*"], "{repository}");
        assert_eq!(ports(&format!("{repository}:fpmish")), ["80*"], "{repository}");
        assert_eq!(ports(&format!("{repository}@{digest}")), [""; 0], "{repository}");
        assert_eq!(ports(&format!("{repository}:fpm@{digest}")), ["9000*"], "{repository}");
    }
    assert_eq!(ports("php:8.3-fpm"), ["9000*"]);
    assert_eq!(ports("php:8.3"), [""; 0]);
    // No tag says both; if one did, neither could be believed.
    assert_eq!(ports("wordpress:cli-fpm"), [""; 0]);
    assert_eq!(ports(&format!("redis@{digest}")), ["6379*"]);
    assert!(ports("rabbitmq:3.13-management").contains(&"15672".to_owned()));
    assert!(!ports("rabbitmq:3.13").contains(&"15672".to_owned()));
}

#[test]
fn images_that_one_word_misled_about_are_known_by_their_own_ports() {
    assert_eq!(ports("mongo-express:1"), ["8081*"]);
    assert_eq!(ports("konradkleine/docker-registry-frontend:v2"), ["80*", "443"]);
    assert_eq!(ports("bitnami/redis-sentinel:8.0"), ["26379*"]);
    assert_eq!(ports("mysql/mysql-router:8.0")[..2], ["6446*", "6447*"]);
    assert_eq!(ports("bitnami/nginx:1.25"), ["8080*", "8443"]);
    assert_eq!(ports("nginxinc/nginx-unprivileged:1.25"), ["8080*"]);
    let graphite = ["80*", "2003*", "2004", "2023", "2024", "8125", "8125/UDP*", "8126"];
    assert_eq!(ports("hopsoft/graphite-statsd"), graphite);
}

#[test]
fn a_guess_understands_every_word() {
    for (name, port) in [
        ("docker-mysql", 3306),
        ("shop/mysql", 3306),
        ("quay.io/team/postgresql-server:9", 5432),
        ("team/my-own-rabbitmq_server", 5672),
        ("team/redis.3", 6379),
        ("team/wordpress:4-fpm", 9000),
    ] {
        assert_eq!(guessed(name), [port], "{name}");
    }
    for name in [
        "mysql",
        "app",
        "team/docker",
        "team/mysql-client",
        "team/mysql-router",
        "team/redis-sentinel",
        "team/mongo-express",
        "team/nginx-unprivileged",
        "team/docker-registry-frontend",
        "team/graphite-statsd",
        "team/mysqlish",
        "team/nginx-wordpress",
        "team/wordpress-fpm",
    ] {
        assert_eq!(guessed(name), [0; 0], "{name}");
    }
}

#[test]
fn data_directories_are_found_by_path_and_flavour() {
    let directory = |image: &str, path: &str| of(&source(image)).and_then(|known| known.data_directory(path));
    let data = directory("postgres:16", "/var/lib/postgresql/data/").unwrap();
    assert!(data.empty);
    assert_eq!((data.owner, data.mode), (Some(Owner { uid: 999, gid: Some(999) }), Some(Mode(0o750))));
    let data = directory("postgres:16-alpine", "/var/lib/postgresql/data").unwrap();
    assert_eq!(data.owner, Some(Owner { uid: 70, gid: Some(70) }));
    assert!(directory("postgres:16", "/var/lib").is_none());
    assert!(!directory("mongo:7", "/data/db").unwrap().empty);
    let user = |image: &str| of(&source(image)).and_then(|known| known.user).map(|user| user.uid);
    assert_eq!(
        (user("grafana/grafana:10.4.3"), user("elasticsearch:8.1.0"), user("mysql:8")),
        (Some(472), Some(1000), None)
    );
}
