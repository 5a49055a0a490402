//! Counts what looking up allocates: one line per question, with the most that one of its lookups allocated. A program
//! of its own, because counting takes time from every allocation.
//!
//! The lines are read by `bench/src/scale/pure.rs`.

use allocation_counter::measure;
use anyhow::Result;
use rust_nginx_bench::lookup::{Lookups, Question};

fn main() -> Result<()> {
    let lookups = Lookups::new()?;
    for (name, question) in lookups.questions() {
        let (Question::Hosts(all) | Question::Paths(all)) = question;
        let count = |position| {
            let counted = measure(|| {
                std::hint::black_box(lookups.ask(question, position).is_some());
            });
            counted.count_total
        };
        println!("{name} {}", (0..all.len()).map(count).max().unwrap_or(0));
    }
    Ok(())
}
