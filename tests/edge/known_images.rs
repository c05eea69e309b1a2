//! `docs/known-images.md` says what the table says; `UPDATE=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use panamax_kubernetes_adapter::template::Protocol;
use panamax_kubernetes_adapter::translate::known_images::{
    DataDirectory, KnownImage, KnownPort, Owner, Reason, all, unlisted,
};

const HEAD: &str = "# Known images

What the adapter knows of container images whose ports a template does not list. An image is known by the name of its \
whole repository; the registry `docker.io` and the namespace `library` may be left out. A part of the tag tells its \
flavour. Nothing is concluded from one word of a name, but for the values of link variables.

A link to a known image reaches all of these ports; **bold** ones are those that its clients speak to, and a WARNING \
tells where the template does not list them. Directories are those that the image keeps data in, with the owner that it \
gives them. The user is a number that the container runs as; where the caller brings no configuration of the image, \
MODERN makes new claims writable for it, see [volumes.md](volumes.md).

An image without a line is not known. The public templates name some: they are \
[at the end](#images-of-the-public-templates-without-a-line), each with the reason. Official images without a line are \
systems and tools whose Dockerfiles expose no port. Where a line says `none`, the image exposes no port, and something \
else is known of it.

This file is written from `src/translate/known_images/images.yaml`, which also names the source of every line.
";

const UNLISTED: &str = "
## Images of the public templates without a line

No port of these is known. A link to one reaches the ports that its template lists, or every port by DNS if it lists \
none. The missing Dockerfiles were looked for in public copies of GitHub: in the repositories that are named, and in two \
collections of what Docker Hub showed, [dockerfiles](https://github.com/yinyuanzhang/dockerfiles) and \
[dockerfiles-search](https://github.com/billyriantono/dockerfiles-search).

| Image | Why | Sources |
|---|---|---|
";

fn rendered() -> String {
    let mut page = HEAD.to_owned();
    for (title, official) in [("Official images of Docker Hub", true), ("Images of others", false)] {
        write!(page, "\n## {title}\n\n").unwrap();
        writeln!(page, "| Image | Ports | Directories | User | Sources |\n|---|---|---|---|---|").unwrap();
        for image in all().iter().filter(|image| image.repository.contains('/') != official) {
            rows(&mut page, image);
        }
    }
    page.push_str(UNLISTED);
    for image in unlisted() {
        let (why, sources) = match &image.reason {
            Reason::ExposesNothing(read) => ("exposes nothing".to_owned(), sources(read, &[])),
            Reason::NotFound(looked) => (format!("not found in {looked}"), String::new()),
        };
        writeln!(page, "| `{}` | {why} | {sources} |", image.repository).unwrap();
    }
    page
}

fn rows(page: &mut String, image: &KnownImage) {
    let names: Vec<_> =
        std::iter::once(&image.repository).chain(&image.aliases).map(|name| format!("`{name}`")).collect();
    let sources = sources(&image.sources, &image.data);
    let (listed, kept) = (ports(&image.ports), directories(&image.data));
    writeln!(page, "| {} | {listed} | {kept} | {} | {sources} |", names.join(", "), user(image.user))
        .unwrap();
    for flavour in &image.flavours {
        let listed = flavour.ports.as_deref().map_or("as above".to_owned(), ports);
        let kept = flavour.data.as_deref().map_or("as above".to_owned(), directories);
        let sources = self::sources(&flavour.sources, flavour.data.as_deref().unwrap_or_default());
        writeln!(page, "| … with `{}` in the tag | {listed} | {kept} | | {sources} |", flavour.tag).unwrap();
    }
}

fn ports(ports: &[KnownPort]) -> String {
    let one = |port: &KnownPort| {
        let protocol = if port.protocol == Protocol::Udp { "/UDP" } else { "" };
        let number = format!("{}{protocol}", port.port);
        let number = if port.links { format!("**{number}**") } else { number };
        port.name.as_ref().map_or(number.clone(), |name| format!("{number} {name}"))
    };
    if ports.is_empty() { "none".to_owned() } else { ports.iter().map(one).collect::<Vec<_>>().join(", ") }
}

fn directories(directories: &[DataDirectory]) -> String {
    let one = |directory: &DataDirectory| {
        let mut text = format!("`{}`", directory.path);
        if let Some(owner) = directory.owner {
            write!(text, " of {}", user(Some(owner))).unwrap();
        }
        if directory.empty {
            text.push_str(", empty at first");
        }
        if let Some(mode) = directory.mode {
            write!(text, ", at most {:04o}", mode.0).unwrap();
        }
        text
    };
    directories.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn user(owner: Option<Owner>) -> String {
    let with_group = |owner: Owner| match owner.gid {
        Some(gid) => format!("{}:{gid}", owner.uid),
        None => owner.uid.to_string(),
    };
    owner.map(with_group).unwrap_or_default()
}

/// Every source once, as numbered links.
fn sources(own: &[&'static str], data: &[DataDirectory]) -> String {
    let mut all: Vec<&str> = Vec::new();
    for source in own.iter().chain(data.iter().flat_map(|directory| &directory.sources)) {
        if !all.contains(source) {
            all.push(source);
        }
    }
    let link = |(place, source): (usize, &&str)| format!("[{}]({source})", place + 1);
    all.iter().enumerate().map(link).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_holds_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/known-images.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, rendered()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(page == rendered(), "{} is behind the table: run this test with UPDATE=1", path.display());
}
