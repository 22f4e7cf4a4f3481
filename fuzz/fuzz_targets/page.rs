//! Anything that modules and operators do to a store: its pages are valid in every format and show what the model holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use metre::encode::exposition::{only, Format, Options};
use metre_fuzz::check_page::{check, render, FORMATS};
use metre_fuzz::input::Input;
use metre_fuzz::world::World;

fuzz_target!(|bytes: &[u8]| {
    let input = &mut Input::new(bytes);
    let options = Options {
        created: input.any(),
        canonical_le: input.any(),
    };
    let mut world = World::new(input, None);
    while !input.is_over() {
        match input.one_in(30) {
            true => look(&world, options, input),
            false => world.step(input),
        }
    }
    for format in FORMATS {
        check(&world, &render(&world, options, format, None), options, format);
    }
    look(&world, options, input);
});

/// Some page, and a part of it.
fn look(world: &World, options: Options, input: &mut Input<'_>) {
    let format = input.of(&FORMATS);
    let whole = render(world, options, format, None);
    check(world, &whole, options, format);
    let names: Vec<String> = (0..input.below(4))
        .map(|_| String::from_utf8_lossy(&input.name()).into_owned())
        .chain(world.families.first().map(|family| family.writer.family().name.clone()))
        .collect();
    let wanted = only(&world.store, names.iter().map(String::as_str));
    let part = render(world, options, format, Some(&wanted));
    let kept = |line: &&str| !line.is_empty();
    let (whole, part) = (String::from_utf8_lossy(&whole), String::from_utf8_lossy(&part));
    let mut lines = whole.split_inclusive('\n');
    assert!(
        part.split_inclusive('\n')
            .filter(kept)
            .all(|line| lines.any(|other| other == line)),
        "{part}"
    );
    let plain = world
        .families
        .first()
        .filter(|family| family.on_page && !family.series.is_empty());
    if let (Some(family), Format::OpenMetrics1(None)) = (plain, format) {
        assert!(
            part.contains(&format!("# TYPE {} ", family.writer.family().name)),
            "{part}"
        );
    }
}
