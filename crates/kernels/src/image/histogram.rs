use std::fmt::Write;

use brigade_proto::Buffer;

use super::job::{load_values, reader, synthesize};
use crate::{Context, Kernel, KernelError, OutputFormat, Progress, Size, Spec};

pub(super) struct Histogram;

impl Kernel for Histogram {
    fn spec(&self) -> Spec {
        reader("histogram", "Counts the values of each channel")
            .output(
                OutputFormat::Fixed("json"),
                r#"{"width", "height", "channels": {"red": [256 counts], "green", "blue", "alpha"}}; a grey image has "grey" alone"#,
            )
            .details("Equal to OpenCV's calcHist with 256 bins, channel by channel.")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let pixels = load_values(job)?;
        let shape = pixels.shape;
        let (names, counts): (&[&str], Vec<[u64; 256]>) = match shape.channels {
            1 => {
                let mut counts = [0; 256];
                count_bytes(pixels.bytes(), &mut counts);
                (&["grey"], vec![counts])
            }
            3 => (&["red", "green", "blue"], count_channels::<3>(pixels.bytes()).to_vec()),
            _ => (&["red", "green", "blue", "alpha"], count_channels::<4>(pixels.bytes()).to_vec()),
        };
        let mut json =
            format!(r#"{{"width":{},"height":{},"channels":{{"#, shape.width, shape.height);
        for (i, (name, counts)) in names.iter().zip(&counts).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let list = counts.map(|n| n.to_string()).join(",");
            // Writing to a string cannot fail.
            let _ = write!(json, r#"{comma}"{name}":[{list}]"#);
        }
        json.push_str("}}\n");
        job.put(json.as_bytes())?;
        Ok(Progress::Done)
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        synthesize(size, seed)
    }
}

/// Four tables in turn: equal neighbours would otherwise wait for each other's
/// increment.
pub(super) fn count_bytes(bytes: &[u8], counts: &mut [u64; 256]) {
    // Pieces that cannot overflow 32 bits.
    for piece in bytes.chunks(1 << 30) {
        let mut tables = [[0_u32; 256]; 4];
        let (fours, rest) = piece.as_chunks::<4>();
        for four in fours {
            for (table, &byte) in tables.iter_mut().zip(four) {
                table[usize::from(byte)] += 1;
            }
        }
        for &byte in rest {
            tables[0][usize::from(byte)] += 1;
        }
        for (level, count) in counts.iter_mut().enumerate() {
            *count += tables.iter().map(|table| u64::from(table[level])).sum::<u64>();
        }
    }
}

fn count_channels<const C: usize>(bytes: &[u8]) -> [[u64; 256]; C] {
    let mut counts = [[0; 256]; C];
    for piece in bytes.chunks(C << 28) {
        // Two tables a channel, for neighbours of one colour.
        let mut tables = [[[0_u32; 256]; C]; 2];
        for pair in piece.chunks(2 * C) {
            for (table, pixel) in tables.iter_mut().zip(pair.as_chunks::<C>().0) {
                for (channel, &byte) in table.iter_mut().zip(pixel) {
                    channel[usize::from(byte)] += 1;
                }
            }
        }
        for table in &tables {
            for (counts, table) in counts.iter_mut().zip(table) {
                for (count, &n) in counts.iter_mut().zip(table) {
                    *count += u64::from(n);
                }
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use crate::image::testing::{TestImage, run};

    #[test]
    fn every_channel_is_counted_by_itself() {
        let case = TestImage {
            width: 3,
            height: 1,
            channels: 3,
            bytes: vec![1, 2, 3, 1, 2, 4, 255, 2, 0],
        };
        let json = String::from_utf8(run("histogram", &[], &case.npy()).unwrap()).unwrap();
        assert!(json.starts_with(r#"{"width":3,"height":1,"channels":{"red":[0,2,0,"#), "{json}");
        assert!(json.contains(r#""green":[0,0,3,0"#));
        assert!(json.contains(r#""blue":[1,0,0,1,1,0"#));
        assert!(json.ends_with("0]}}\n"));
        let grey = TestImage { channels: 1, width: 9, ..case };
        let json = String::from_utf8(run("histogram", &[], &grey.npy()).unwrap()).unwrap();
        assert!(json.contains(r#""channels":{"grey":[1,2,3,1,1,0,"#), "{json}");
    }
}
