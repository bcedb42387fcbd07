//! What a contest comes to: medians, ratios, the table, the lines for scripts, the JSON.

use crate::contestant::Contestant;
use crate::http::Options;
use crate::machine::Machine;
use crate::stats::{median, median_ratio};
use serde_json::{Value, json};

/// One turn of one contestant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) requests: u64,
    pub(crate) requests_per_sec: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU time of the server for one request.
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
    /// Context switches of the server for one request.
    pub(crate) switches: f64,
    pub(crate) rss_mib: f64,
}

impl Run {
    pub(crate) fn cpu_us(&self) -> f64 {
        self.user_us + self.system_us
    }

    fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "requests_per_sec": self.requests_per_sec,
            "p50_us": self.p50_us,
            "p99_us": self.p99_us,
            "cpu_us_per_request": self.cpu_us(),
            "user_us_per_request": self.user_us,
            "system_us_per_request": self.system_us,
            "switches_per_request": self.switches,
            "rss_mib": self.rss_mib,
        })
    }
}

/// All turns of one contestant at one number of connections, in the order of the rounds.
pub(crate) struct Series {
    pub(crate) who: Contestant,
    pub(crate) runs: Vec<Run>,
}

impl Series {
    fn values(&self, of: impl Fn(&Run) -> f64) -> impl Iterator<Item = f64> {
        self.runs.iter().map(of)
    }

    /// A run that never was, of medians.
    fn medians(&self) -> Run {
        let of = |of: fn(&Run) -> f64| median(self.values(of));
        Run {
            requests: of(|run| run.requests as f64) as u64,
            requests_per_sec: of(|run| run.requests_per_sec),
            p50_us: of(|run| run.p50_us),
            p99_us: of(|run| run.p99_us),
            user_us: of(|run| run.user_us),
            system_us: of(|run| run.system_us),
            switches: of(|run| run.switches),
            rss_mib: of(|run| run.rss_mib),
        }
    }
}

/// egret against one rival at one number of connections: medians of the ratios of each round.
pub(crate) struct Ratio {
    conns: usize,
    rival: Contestant,
    pub(crate) requests_per_sec: f64,
    cpu: f64,
    p99: f64,
}

impl Ratio {
    fn of(conns: usize, egret: &Series, rival: &Series) -> Self {
        let ratio = |of: fn(&Run) -> f64| median_ratio(egret.values(of), rival.values(of));
        Ratio {
            conns,
            rival: rival.who,
            requests_per_sec: ratio(|run| run.requests_per_sec),
            cpu: ratio(Run::cpu_us),
            p99: ratio(|run| run.p99_us),
        }
    }

    /// The line for scripts.
    pub(crate) fn line(&self) -> String {
        let Ratio { conns, rival, requests_per_sec, cpu, p99 } = self;
        format!("RATIO http conns={conns} egret/{rival} rps={requests_per_sec:.2} cpu={cpu:.2} p99={p99:.2}")
    }

    fn json(&self) -> Value {
        json!({ "conns": self.conns, "rival": self.rival.name(), "rps": self.requests_per_sec, "cpu": self.cpu, "p99": self.p99 })
    }
}

pub(crate) fn print_table(conns: usize, options: &Options, series: &[Series]) {
    let Options { workers, rounds, secs, .. } = options;
    println!("\nhttp, {conns} connections, {workers} workers: medians of {rounds} rounds of {secs} s");
    println!("          req/s    p50 us    p99 us   CPU us/req = user + system   switches/req   RSS MiB");
    for series in series {
        let Run { requests_per_sec, p50_us, p99_us, user_us, system_us, switches, rss_mib, .. } =
            series.medians();
        let cpu_us = median(series.values(Run::cpu_us));
        println!(
            "{:5} {requests_per_sec:9.0} {p50_us:9.0} {p99_us:9.0} {cpu_us:12.2} {user_us:8.2} {system_us:8.2} \
             {switches:14.4} {rss_mib:9.1}",
            series.who
        );
    }
}

pub(crate) fn ratios(conns: usize, series: &[Series]) -> Vec<Ratio> {
    let Some(egret) = series.iter().find(|series| series.who == Contestant::Egret) else {
        return Vec::new();
    };
    let rivals = series.iter().filter(|series| series.who != Contestant::Egret);
    rivals.map(|rival| Ratio::of(conns, egret, rival)).collect()
}

pub(crate) fn json(
    options: &Options,
    machine: &Machine,
    contests: &[(usize, Vec<Series>)],
    ratios: &[Ratio],
) -> Value {
    let contestant = |series: &Series| {
        let rounds: Vec<Value> = series.runs.iter().map(Run::json).collect();
        json!({ "name": series.who.name(), "medians": series.medians().json(), "rounds": rounds })
    };
    let contest = |(conns, series): &(usize, Vec<Series>)| {
        let contestants: Vec<Value> = series.iter().map(contestant).collect();
        json!({ "conns": conns, "contestants": contestants })
    };
    json!({
        "what": "http",
        "date": machine.date,
        "kernel": machine.kernel,
        "cpu": machine.cpu,
        "cores": machine.cores,
        "workers": options.workers,
        "rounds": options.rounds,
        "secs": options.secs,
        "contests": contests.iter().map(contest).collect::<Vec<_>>(),
        "ratios": ratios.iter().map(Ratio::json).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;

    fn run(requests_per_sec: f64, cpu: f64, p99_us: f64) -> Run {
        Run {
            requests: 1000,
            requests_per_sec,
            p50_us: 1.0,
            p99_us,
            user_us: cpu / 4.0,
            system_us: cpu * 3.0 / 4.0,
            switches: 0.5,
            rss_mib: 3.0,
        }
    }

    #[test]
    fn the_line_for_scripts_has_the_documented_form() {
        let egret = Series {
            who: Contestant::Egret,
            runs: vec![run(107.0, 9.5, 61.0), run(200.0, 8.0, 50.0), run(50.0, 9.0, 70.0)],
        };
        let tokio = Series {
            who: Contestant::Tokio,
            runs: vec![run(100.0, 10.0, 100.0), run(100.0, 10.0, 100.0), run(100.0, 9.0, 100.0)],
        };
        let series = [egret, tokio];
        let ratios = ratios(64, &series);
        let lines: Vec<String> = ratios.iter().map(Ratio::line).collect();
        assert_eq!(lines, ["RATIO http conns=64 egret/tokio rps=1.07 cpu=0.95 p99=0.61"]);

        let words = "--conns 64 --only egret,tokio --rounds 3".split(' ').map(String::from);
        let options = Options::read(Args::new(words)).unwrap();
        let value = json(&options, &Machine::look(), &[(64, series.into())], &ratios);
        assert_eq!(value["contests"][0]["contestants"][0]["rounds"].as_array().unwrap().len(), 3);
        assert_eq!(value["contests"][0]["contestants"][0]["medians"]["requests_per_sec"], 107.0);
        assert_eq!(value["ratios"][0]["rival"], "tokio");
    }

    #[test]
    fn without_egret_there_is_no_ratio() {
        let tokio = Series { who: Contestant::Tokio, runs: vec![run(1.0, 1.0, 1.0)] };
        assert!(ratios(1, &[tokio]).is_empty());
    }
}
