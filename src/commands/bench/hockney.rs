//! Fits the latency and bandwidth of each path to a worker, from round trips of all sizes.

use brigade_measure::experiment::Cell;
use brigade_measure::models::{self, Model, Transfer};
use brigade_report::units::digits;
use serde_json::{Map, Value};

use super::figures::{interval, of_groups, times, whole_blocks};
use super::session::BenchSession;

/// The parameters that define a path. Round trips that share them took the same path.
const WAY: [&str; 4] = ["backend", "transport", "placement", "workers"];

/// Fits each path, from all round trips so far. Empty jobs belong to the paths with and without a
/// placement, because they have no payload to place.
pub(super) fn conclude(session: &mut BenchSession<'_>) {
    let cells: Vec<Cell> = session
        .cells
        .iter()
        .filter(|cell| {
            let busy = cell.case.get("state").is_some_and(|state| state == "busy");
            cell.metric == "round_trip"
                && ["latency", "bandwidth"].contains(&cell.experiment.as_str())
                && busy
                && cell.case.contains_key("backend")
                && cell.error.is_none()
                && cell.n > 0
        })
        .cloned()
        .collect();
    let mut ways: Vec<Map<String, Value>> = Vec::new();
    for cell in &cells {
        let way = way(cell);
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    // A path with only empty jobs is part of another path that also has a placement.
    let is_part = |way: &Map<String, Value>, other: &Map<String, Value>| {
        way != other && way.iter().all(|(key, value)| other.get(key) == Some(value))
    };
    let whole = ways.iter().filter(|way| !ways.iter().any(|other| is_part(way, other)));
    for way in whole {
        let mut transfers: Vec<&Cell> = Vec::new();
        for cell in &cells {
            let own = self::way(cell);
            let same = own == *way || (bytes(cell) == Some(0) && is_part(&own, way));
            // A size that both experiments measured counts once.
            if same && !transfers.iter().any(|other| bytes(other) == bytes(cell)) {
                transfers.push(cell);
            }
        }
        fit(way, &transfers, session);
    }
}

fn way(cell: &Cell) -> Map<String, Value> {
    let keys = cell.case.iter().filter(|(key, _)| WAY.contains(&key.as_str()));
    keys.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn bytes(cell: &Cell) -> Option<u64> {
    cell.case.get("bytes").and_then(Value::as_u64)
}

fn fit(way: &Map<String, Value>, cells: &[&Cell], session: &mut BenchSession<'_>) {
    let blocks = whole_blocks(cells.iter().copied());
    let transfers: Vec<Transfer> = cells
        .iter()
        .filter_map(|cell| Some(Transfer { bytes: bytes(cell)?, blocks: of_groups(cell, blocks) }))
        .collect();
    let model = models::hockney(&transfers, session.common.plan.seed);
    let case = Value::Object(way.clone());
    if let Some(found) = session.conclude(model, Model::Hockney, case) {
        let who: Vec<&str> = ["backend", "transport", "placement"]
            .iter()
            .filter_map(|key| way.get(*key)?.as_str())
            .collect();
        let of = &found.parameters;
        let off = found.worst_residual * 100.0;
        // With such a large residual, the line is not a model of the path.
        let doubt = if off > 50.0 { ", so it is hardly a line" } else { "" };
        session.find(format!(
            "{}: a round trip takes {}, and its payload goes at {} MB/s; that line is off by up to {} \
             %{doubt}",
            who.join(" "),
            times(&of.latency_us),
            interval(&of.bandwidth_mb_per_s),
            digits(off)
        ));
    }
}
