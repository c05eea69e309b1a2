//! Templates per second on one core, over fixtures of the shapes that real templates have.
//!
//! `cargo bench --bench translate`: the target is 5,000 templates of common size (3 images) a second and core,
//! from text to objects.

use std::fmt::Write as _;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use panamax_kubernetes_adapter::artifacts::DeploymentName;
use panamax_kubernetes_adapter::template::Template;
use panamax_kubernetes_adapter::template::raw::{RawImage, RawLink, RawTemplate};
use panamax_kubernetes_adapter::template::validate::{Limits, from_text, validate};
use panamax_kubernetes_adapter::translate::{Options, manifest_yaml, translate};

/// How many images a template has; 3 is the usual number, 13 and 50 are large ones.
const IMAGES: [usize; 5] = [1, 3, 13, 50, 100];

fn main() {
    divan::main();
}

/// A template with a page of documentation whose images each link to the one before, as tiers do.
fn template(images: usize) -> String {
    let mut text = String::from("---\nname: Shop with everything\ndescription: A shop of several tiers.\n");
    text.push_str("keywords: shop, mysql\ntype: Default\ndocumentation: |\n");
    for line in 0..40 {
        writeln!(text, "  Line {line} of what a person reads before the template is deployed.")
            .unwrap_or_default();
    }
    text.push_str("images:\n");
    for index in 0..images {
        write!(
            text,
            "- name: Tier_{index}\n  source: shop/tier{index}:1.{index}\n  category: Tier\n  type: Default\n  \
             expose:\n  - '{}'\n  ports:\n  - host_port: '{}'\n    container_port: '80'\n    proto: TCP\n  \
             environment:\n  - variable: DB_PASSWORD\n    value: pass@word01\n  - variable: DB_NAME\n    \
             value: shop\n  - variable: SCALE\n    value: {index}\n  volumes:\n  - host_path: /data/{index}\n    \
             container_path: /data\n",
            3000 + index,
            8000 + index,
        )
        .unwrap_or_default();
        if index > 0 {
            write!(text, "  links:\n  - service: Tier_{}\n    alias: DB_{index}\n", index - 1)
                .unwrap_or_default();
        }
    }
    text
}

/// A template whose images link to 64 others each; as text it would be over the budget of nodes.
fn graph(images: usize) -> RawTemplate {
    let link = |target: usize| RawLink { service: format!("n{}", target % images), ..RawLink::default() };
    let image = |index: usize| RawImage {
        name: format!("n{index}"),
        source: "shop/n:1".into(),
        expose: vec!["80".into()],
        links: (1..=64_usize.min(images - 1)).map(|step| link(index + step)).collect(),
        ..RawImage::default()
    };
    RawTemplate { images: (0..images).map(image).collect(), ..RawTemplate::default() }
}

fn options() -> Option<Options> {
    DeploymentName::new("bench").ok().map(Options::new)
}

fn valid(text: &str) -> Option<Template> {
    from_text(text, None, &Limits::default()).0.template
}

/// The whole walk, as TranslateTemplate and Deploy do it.
#[divan::bench(args = IMAGES)]
fn text_to_objects(bencher: Bencher<'_, '_>, images: usize) {
    let text = template(images);
    let options = options();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let template = valid(black_box(&text))?;
        translate(&template, options.as_ref()?).artifacts
    });
}

#[divan::bench(args = IMAGES)]
fn text_to_template(bencher: Bencher<'_, '_>, images: usize) {
    let text = template(images);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| valid(black_box(&text)));
}

#[divan::bench(args = IMAGES)]
fn template_to_objects(bencher: Bencher<'_, '_>, images: usize) {
    let template = valid(&template(images));
    let options = options();
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| Some(translate(black_box(template.as_ref()?), options.as_ref()?)));
}

#[divan::bench(args = IMAGES)]
fn objects_to_yaml(bencher: Bencher<'_, '_>, images: usize) {
    let template = valid(&template(images));
    let options = options();
    let artifacts =
        template.zip(options).and_then(|(template, options)| translate(&template, &options).artifacts);
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| artifacts.as_ref().map(|artifacts| manifest_yaml(black_box(artifacts))));
}

/// Many links: time has to grow with images and links, not with their product.
#[divan::bench(args = [10, 50, 100])]
fn graph_of_links(bencher: Bencher<'_, '_>, images: usize) {
    let raw = graph(images);
    let options = options();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let template = validate(black_box(&raw).clone()).template?;
        translate(&template, options.as_ref()?).artifacts
    });
}
