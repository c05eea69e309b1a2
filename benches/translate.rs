//! Templates per second on one core, over fixtures of the shapes that real templates have.
//!
//! `cargo bench --bench translate`: the target is 5,000 templates of common size (3 images) a second and core, from
//! text to objects, by either profile. Behind divan's figures it prints what an image or a link costs in templates of
//! every size: where these are alike, time grows with images and links, and not with their product.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::fmt::{self, Display, Write as _};
use std::time::{Duration, Instant};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use panamax_kubernetes_adapter::artifacts::{Artifacts, DeploymentName};
use panamax_kubernetes_adapter::template::Template;
use panamax_kubernetes_adapter::template::raw::{RawImage, RawLink, RawTemplate};
use panamax_kubernetes_adapter::template::validate::{Limits, from_text, validate};
use panamax_kubernetes_adapter::translate::{Options, Profile, Rules, manifest_yaml, translate};

/// The usual number of images, and the median of real templates.
const COMMON: usize = 3;
/// How many images a template has; 13 and 50 are large ones.
const IMAGES: [usize; 5] = [1, COMMON, 13, 50, 100];
/// The most links that an image may have.
const LINKS: usize = 64;
/// How long one figure is measured for.
const MEASURED: Duration = Duration::from_millis(400);

fn main() {
    divan::main();
    for profile in [Profile::Classic, Profile::Modern] {
        costs(profile);
    }
}

/// A size by a profile.
struct Case {
    profile: Profile,
    images: usize,
}

impl Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {}", self.profile, self.images)
    }
}

/// Every size by either profile.
fn cases() -> impl Iterator<Item = Case> {
    let sized = |profile| IMAGES.into_iter().map(move |images| Case { profile, images });
    [Profile::Classic, Profile::Modern].into_iter().flat_map(sized)
}

/// A template with a page of documentation whose images each link to the one before, as tiers do; every fourth keeps
/// data. With three images it has no less of anything than the median of real ones.
fn template(images: usize) -> String {
    let mut text = String::from("---\nname: Shop with everything\ndescription: A shop of several tiers.\n");
    text.push_str("keywords: shop, mysql\ntype: Default\ndocumentation: |\n");
    // Writing to a text cannot fail.
    for line in 0..30 {
        let _ = writeln!(text, "  Line {line} of what a person reads before the template is deployed.");
    }
    text.push_str("images:\n");
    for index in 0..images {
        let _ = write!(
            text,
            "- name: Tier_{index}\n  source: shop/tier{index}:1.{index}\n  category: Tier\n  type: Default\n  \
             ports:\n  - host_port: '{}'\n    container_port: '80'\n    proto: TCP\n",
            8000 + index,
        );
        if let Some(before) = index.checked_sub(1) {
            let _ = write!(text, "  links:\n  - service: Tier_{before}\n    alias: TIER_{before}\n");
        }
        text.push_str("  environment:\n  - variable: DB_NAME\n    value: shop\n");
        let _ = write!(text, "  - variable: SCALE\n    value: {index}\n");
        if index % 4 == 0 {
            let _ = write!(
                text,
                "  - variable: DB_PASSWORD\n    value: pass@word01\n  expose:\n  - '{}'\n  volumes:\n  \
                 - host_path: /data/{index}\n    container_path: /data\n",
                3000 + index,
            );
        }
    }
    text
}

/// A template whose images have 64 links each, some to one image by several aliases where there are fewer; as text
/// it would be over the budget of nodes.
fn graph(images: usize) -> RawTemplate {
    let link = |from: usize, step: usize| {
        let (target, round) = ((from + 1 + step % (images - 1)) % images, step / (images - 1));
        let alias = if round == 0 { String::new() } else { format!("n{target}x{round}") };
        RawLink { service: format!("n{target}"), alias, ..RawLink::default() }
    };
    let image = |index: usize| RawImage {
        name: format!("n{index}"),
        source: "shop/n:1".into(),
        expose: vec!["80".into()],
        links: (0..LINKS).map(|step| link(index, step)).collect(),
        ..RawImage::default()
    };
    RawTemplate { images: (0..images).map(image).collect(), ..RawTemplate::default() }
}

fn options(profile: Profile) -> Option<Options> {
    DeploymentName::new("bench").ok().map(|name| Options::with(name, Rules::of(profile)))
}

fn valid(text: &str) -> Option<Template> {
    from_text(text, None, &Limits::default()).0.template
}

/// The whole walk, as Deploy does it, which holds all objects at once.
fn walk(text: &str, options: &Options) -> Option<Artifacts> {
    let artifacts = translate(&valid(text)?, options).artifacts?;
    black_box(artifacts.objects());
    Some(artifacts)
}

fn walk_graph(raw: &RawTemplate, options: &Options) -> Option<Artifacts> {
    translate(&validate(raw.clone()).template?, options).artifacts
}

#[divan::bench(args = cases())]
fn text_to_objects(bencher: Bencher<'_, '_>, case: &Case) {
    let (text, options) = (template(case.images), options(case.profile));
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| walk(black_box(&text), options.as_ref()?));
}

#[divan::bench(args = IMAGES)]
fn text_to_template(bencher: Bencher<'_, '_>, images: usize) {
    let text = template(images);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| valid(black_box(&text)));
}

#[divan::bench(args = cases())]
fn template_to_objects(bencher: Bencher<'_, '_>, case: &Case) {
    let (template, options) = (valid(&template(case.images)), options(case.profile));
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| Some(translate(black_box(template.as_ref()?), options.as_ref()?)));
}

#[divan::bench(args = cases())]
fn objects_to_yaml(bencher: Bencher<'_, '_>, case: &Case) {
    let artifacts = options(case.profile).and_then(|options| walk(&template(case.images), &options));
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| artifacts.as_ref().map(|artifacts| manifest_yaml(black_box(artifacts))));
}

#[divan::bench(args = cases().filter(|case| case.images > COMMON))]
fn graph_of_links(bencher: Bencher<'_, '_>, case: &Case) {
    let (raw, options) = (graph(case.images), options(case.profile));
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| walk_graph(black_box(&raw), options.as_ref()?));
}

/// The shortest time of a walk, which other programs on the machine bear on least; `None` for one that ends without
/// objects, which would be no figure.
fn fastest(walk: impl Fn() -> Option<Artifacts>) -> Option<Duration> {
    let mut fastest = Duration::MAX;
    let until = Instant::now() + MEASURED;
    for round in 0.. {
        let began = Instant::now();
        let artifacts = black_box(walk())?;
        fastest = fastest.min(began.elapsed());
        drop(artifacts);
        if round >= 5 && Instant::now() > until {
            break;
        }
    }
    Some(fastest)
}

/// Prints what a profile's templates cost, and what each image and link of them does.
fn costs(profile: Profile) {
    let Some(options) = options(profile) else { return };
    println!("\n{profile:?}");
    let text = template(COMMON);
    if let Some(time) = fastest(|| walk(black_box(&text), &options)) {
        println!("{COMMON} images: {:.0} templates a second on one core", time.as_secs_f64().recip());
    }
    let mut shapes = Vec::new();
    for images in IMAGES.into_iter().filter(|images| *images > COMMON) {
        let text = template(images);
        let time = fastest(|| walk(black_box(&text), &options));
        shapes.push((format!("{images} images in a row"), 2 * images - 1, time));
    }
    for images in IMAGES.into_iter().filter(|images| *images > COMMON) {
        let raw = graph(images);
        let time = fastest(|| walk_graph(black_box(&raw), &options));
        shapes.push((format!("{images} images, {LINKS} links each"), images * (LINKS + 1), time));
    }
    for (shape, units, time) in shapes {
        match time {
            Some(time) => {
                let each = time.as_secs_f64() * 1e6 / units as f64;
                println!("{shape:<28}{:>12.3} ms{each:>10.2} µs an image or link", time.as_secs_f64() * 1e3);
            }
            None => println!("{shape:<28}refused, so without a figure"),
        }
    }
}
