//! Templates translated per second on one core, over fixtures of the shapes that real templates have.

fn main() {
    divan::main();
}
