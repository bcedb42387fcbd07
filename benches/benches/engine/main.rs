//! The engine beside the kernel's epoll, in the same run.
//!
//! `cargo bench -p egret-benches --bench engine` runs criterion's groups, and then prints ratios from interleaved rounds:
//! criterion measures one thing after the other, and a machine that others use may be slower while it measures the second.
//!
//! | file      | what                                                                     |
//! |-----------|--------------------------------------------------------------------------|
//! | `entry`   | something to be measured: a closure that does n turns and says what they took |
//! | `memory`  | sources without a descriptor: add and remove, wake and deliver, wait with many |
//! | `serve`   | 64 ready sockets, served as a server does                                |
//! | `sockets` | the sockets, and the contestants that tell which of them are ready       |
//! | `kernel`  | the kernel's epoll and eventfd, one system call each                     |
//! | `ratios`  | interleaved rounds and the lines they end in                             |
//!
//! Arguments are criterion's. A filter (`-- wake`) also chooses among the ratios, `-- ratios` runs nothing else, and with
//! `--test` everything runs a few turns and no number means anything.

mod entry;
mod kernel;
mod memory;
mod ratios;
mod serve;
mod sockets;

use criterion::{Criterion, SamplingMode};
use entry::Group;
use std::time::Duration;

fn main() {
    let arguments = Arguments::read();
    let (here, there) = kernel::processors();
    kernel::stay_on(here);
    let mut groups = vec![memory::add_remove(), memory::wake_deliver(), memory::wait()];
    groups.extend(serve::groups(there));

    if !arguments.ratios_only {
        // Short: the numbers that count are the ratios.
        let mut criterion = Criterion::default()
            .sample_size(20)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(400))
            .configure_from_args();
        for group in &mut groups {
            measure(&mut criterion, group);
        }
        criterion.final_summary();
    }
    if !arguments.no_ratios {
        for group in groups.iter_mut().filter(|group| arguments.wants(group.name)) {
            ratios::print(group, if arguments.test { ratios::Length::Smoke } else { ratios::Length::Full });
        }
    }
}

fn measure(criterion: &mut Criterion, group: &mut Group) {
    let mut bench = criterion.benchmark_group(group.name);
    bench.sampling_mode(SamplingMode::Flat);
    for entry in &mut group.entries {
        bench.bench_function(entry.name, |bencher| bencher.iter_custom(|turns| entry.run(turns)));
    }
    bench.finish();
}

/// What of criterion's arguments concerns the ratios.
#[derive(Debug, Default)]
struct Arguments {
    filter: Option<String>,
    ratios_only: bool,
    no_ratios: bool,
    test: bool,
}

impl Arguments {
    fn read() -> Self {
        let mut arguments = Self::default();
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "ratios" => arguments.ratios_only = true,
                "--bench" => {}
                // `cargo test --benches` passes no argument at all; criterion takes that for a test, and so does this.
                "--test" => arguments.test = true,
                // Criterion's own affairs: lists, baselines, profiles.
                option if option.starts_with('-') => arguments.no_ratios = true,
                word => arguments.filter = Some(word.to_owned()),
            }
        }
        arguments.test |= !std::env::args().any(|argument| argument == "--bench");
        arguments
    }

    fn wants(&self, group: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| group.contains(filter.as_str()) || filter.contains(group))
    }
}
