//! Deep learning: inference of a multi-layer perceptron.

use std::borrow::Cow;

use brigade_proto::{Buffer, Note, limits};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, CowArray, Ix2};
use safetensors::SafeTensors;
use safetensors::tensor::{TensorView, serialize};

use crate::alloc::try_vec;
use crate::npy::{self, Dtype};
use crate::synth::SynthRng;
use crate::{
    Context, Family, Inputs, Kernel, KernelError, OutputFormat, ParamSpec, Progress, Size, Spec,
};

pub(crate) fn kernels() -> Vec<Box<dyn Kernel>> {
    vec![Box::new(Mlp)]
}

struct Mlp;

/// Layers of the synthetic network: a small classifier of handwritten digits.
const SYNTHETIC: [usize; 4] = [784, 512, 256, 10];

impl Kernel for Mlp {
    fn spec(&self) -> Spec {
        Spec::new("mlp", "Runs a batch through a network of dense layers")
            .family(Family::Learning)
            .details(
                "x -> relu(x W^T + b) from layer to layer, softmax after the last. Layers are \
                 tensors `N.weight` (out, in) and `N.bias` (out,), in the order of N, as PyTorch \
                 saves an nn.Sequential; the bias may be missing, and names may have a prefix. \
                 Agrees with the same formulas in NumPy to rounding. All is computed in float32: a \
                 batch of float16, float32, booleans or integers is read if each of its numbers is \
                 the same there. Remarks `overflow` where a layer is beyond the largest float32.",
            )
            .param(ParamSpec::max_bytes())
            .inputs(Inputs::exactly(
                2,
                "a batch, .npy, (n, features); and the layers, safetensors of f32",
            ))
            .output(OutputFormat::Fixed("npy"), "class probabilities, f32, (n, classes)")
            .default_size("256")
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let batch = batch(job.input(0)?)?;
        let tensors = SafeTensors::deserialize(job.input(1)?).map_err(|error| {
            KernelError::input(format!("input 2 is no safetensors file: {error}"))
        })?;
        let layers = layers(&tensors)?;
        let mut x = batch;
        let last = layers.len() - 1;
        for (place, layer) in layers.iter().enumerate() {
            job.check_stop()?;
            let ((rows, features), (out, expected)) = (x.dim(), layer.weight.dim());
            if features != expected {
                return Err(KernelError::input(format!(
                    "layer {} takes {expected} features, but gets {features}",
                    layer.number
                )));
            }
            // Two files of a few megabytes can ask for terabytes.
            let bytes = (rows as u64).saturating_mul(out as u64).saturating_mul(4);
            job.check_growth(bytes)?;
            let mut y = zeros(rows, out)?;
            if let Some(bias) = &layer.bias {
                y.assign(&bias.view());
            }
            general_mat_mul(1.0, &x, &layer.weight.t(), 1.0, &mut y);
            // All inputs are finite. Minus infinity would be a harmless 0 in the next layer, and
            // may have come of a sum that is positive.
            if !is_finite(y.as_slice().unwrap_or_default()) {
                job.note(Note::Overflow);
            }
            if place < last {
                // Not `max`, which makes 0 of NaN.
                y.mapv_inplace(|value| if value < 0.0 { 0.0 } else { value });
            }
            x = y.into();
        }
        let (rows, classes) = x.dim();
        let header = npy::header(Dtype::F32, &[rows, classes]);
        let out = job.output_for_overwrite(header.len() + rows * classes * 4)?;
        let (head, data) = out.split_at_mut(header.len());
        head.copy_from_slice(&header);
        for (row, out) in x.rows().into_iter().zip(data.chunks_exact_mut(classes * 4)) {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&value| f64::from(value - top).exp()).sum();
            for (value, to) in row.iter().zip(out.chunks_exact_mut(4)) {
                let probability = (f64::from(value - top).exp() / sum) as f32;
                to.copy_from_slice(&probability.to_le_bytes());
            }
        }
        Ok(Progress::Done)
    }

    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        let rows = match size {
            Size::Count(n) if (1..=1 << 22).contains(&n) => n as usize,
            other => {
                return Err(KernelError::input(format!(
                    "`{other}` is no size of a batch; write a number of rows, 256"
                )));
            }
        };
        let mut rng = SynthRng::new(seed);
        let mut random = |count: usize, scale: f64| -> Vec<u8> {
            let number = |_| ((rng.unit() * 2.0 - 1.0) * scale) as f32;
            (0..count).map(number).flat_map(f32::to_le_bytes).collect()
        };
        let mut batch = npy::header(Dtype::F32, &[rows, SYNTHETIC[0]]);
        batch.extend(random(rows * SYNTHETIC[0], 1.0));
        let mut data = Vec::new();
        for (number, pair) in SYNTHETIC.windows(2).enumerate() {
            let (inputs, outputs) = (pair[0], pair[1]);
            let scale = (3.0 / inputs as f64).sqrt();
            let weight = random(inputs * outputs, scale);
            data.push((format!("{number}.weight"), vec![outputs, inputs], weight));
            data.push((format!("{number}.bias"), vec![outputs], random(outputs, scale)));
        }
        let damaged = |error: safetensors::SafeTensorError| KernelError::input(error.to_string());
        let views = data
            .iter()
            .map(|(name, shape, bytes)| {
                let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
                Ok((name.as_str(), view.map_err(damaged)?))
            })
            .collect::<Result<Vec<_>, KernelError>>()?;
        let network = serialize(views, None).map_err(damaged)?;
        Ok(vec![Buffer::from(&batch[..]), Buffer::from(&network[..])])
    }
}

fn zeros(rows: usize, columns: usize) -> Result<Array2<f32>, KernelError> {
    let too_many = || KernelError::Memory { bytes: u64::MAX };
    let len = rows.checked_mul(columns).ok_or_else(too_many)?;
    Array2::from_shape_vec((rows, columns), try_vec(len)?).map_err(|_| too_many())
}

/// Whole blocks without a branch, which the compiler vectorises.
fn is_finite(elements: &[f32]) -> bool {
    let odd = |block: &[f32]| block.iter().fold(false, |odd, x| odd | !x.is_finite());
    !elements.chunks(1024).any(odd)
}

/// Elements in place where they are aligned.
fn tensor<'a>(
    bytes: &'a [u8],
    shape: (usize, usize),
    what: &str,
) -> Result<CowArray<'a, f32, Ix2>, KernelError> {
    let elements = match bytemuck::try_cast_slice(bytes) {
        Ok(elements) => Cow::Borrowed(elements),
        Err(_) => {
            let mut elements = try_vec::<f32>(bytes.len() / 4)?;
            let whole = &bytes[..elements.len() * 4];
            bytemuck::cast_slice_mut(&mut elements).copy_from_slice(whole);
            Cow::Owned(elements)
        }
    };
    matrix(elements, shape, what)
}

fn matrix<'a>(
    elements: Cow<'a, [f32]>,
    shape: (usize, usize),
    what: &str,
) -> Result<CowArray<'a, f32, Ix2>, KernelError> {
    let misfit = |_| KernelError::input(format!("{what} does not have the size of its shape"));
    let matrix: CowArray<'a, f32, Ix2> = match elements {
        Cow::Borrowed(elements) => ArrayView2::from_shape(shape, elements).map_err(misfit)?.into(),
        Cow::Owned(elements) => Array2::from_shape_vec(shape, elements).map_err(misfit)?.into(),
    };
    if is_finite(matrix.as_slice().unwrap_or_default()) {
        return Ok(matrix);
    }
    match matrix.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), value)) => {
            Err(KernelError::Numeric(format!("{what} holds {value} at [{row}, {column}]")))
        }
        None => Ok(matrix),
    }
}

fn batch(bytes: &[u8]) -> Result<CowArray<'_, f32, Ix2>, KernelError> {
    let named = |error: KernelError| KernelError::input(format!("input 1: {error}"));
    let array = npy::parse(bytes).map_err(named)?;
    let (rows, features) = match array.shape[..] {
        [rows, features] if rows > 0 && features > 0 => (rows, features),
        _ => {
            return Err(KernelError::input(format!(
                "input 1 has shape {:?}; a batch is (n, features), not empty",
                array.shape
            )));
        }
    };
    let elements = array.floats().map_err(named)?;
    if array.fortran {
        let columns = matrix(elements, (features, rows), "input 1")?;
        return Ok(columns.reversed_axes());
    }
    matrix(elements, (rows, features), "input 1")
}

struct Layer<'a> {
    number: u32,
    weight: CowArray<'a, f32, Ix2>,
    /// One row.
    bias: Option<CowArray<'a, f32, Ix2>>,
}

fn layers<'a>(tensors: &'a SafeTensors<'a>) -> Result<Vec<Layer<'a>>, KernelError> {
    let mut numbered: Vec<(u32, &str, TensorView<'a>)> = Vec::new();
    for name in tensors.names() {
        let shown = limits::cut(name, 60);
        let unknown = || {
            KernelError::input(format!(
                "input 2 has a tensor `{shown}`; layers are `N.weight` and `N.bias`"
            ))
        };
        let (prefix, kind) = name.rsplit_once('.').ok_or_else(unknown)?;
        let number = prefix.rsplit('.').next().and_then(|last| last.parse().ok());
        let view = tensors.tensor(name).map_err(|_| unknown())?;
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(KernelError::input(format!(
                "tensor `{shown}` is {:?}; F32 is read",
                view.dtype()
            )));
        }
        numbered.push((number.ok_or_else(unknown)?, kind, view));
    }
    numbered.sort_by_key(|(number, kind, _)| (*number, *kind != "weight"));
    let mut layers: Vec<Layer<'a>> = Vec::new();
    for (number, kind, view) in numbered {
        let what = format!("tensor {number}.{}", limits::cut(kind, 60));
        match (kind, view.shape(), layers.last_mut()) {
            ("weight", &[out, inputs], previous) if out > 0 && inputs > 0 => {
                if previous.is_some_and(|previous| previous.number == number) {
                    return Err(KernelError::input(format!("there are two layers {number}")));
                }
                let weight = tensor(view.data(), (out, inputs), &what)?;
                layers.push(Layer { number, weight, bias: None });
            }
            ("bias", &[out], Some(layer))
                if layer.number == number && layer.weight.nrows() == out =>
            {
                layer.bias = Some(tensor(view.data(), (1, out), &what)?);
            }
            (_, shape, _) => {
                return Err(KernelError::input(format!(
                    "{what} of shape {shape:?} does not fit; a layer is weight (out, in) and bias \
                     (out,)"
                )));
            }
        }
    }
    if layers.is_empty() {
        return Err(KernelError::input("input 2 has no layers"));
    }
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Always, HeapSink, Registry};
    use brigade_proto::{Notes, Params};

    fn run(batch: &[u8], network: &[u8]) -> Result<Vec<f32>, String> {
        run_noted(batch, network).map(|(probabilities, _)| probabilities)
    }

    fn run_noted(batch: &[u8], network: &[u8]) -> Result<(Vec<f32>, Notes), String> {
        let registry = Registry::builtin();
        let entry = registry.find("mlp").unwrap();
        let params = entry.resolve(&Params::new(), 2).unwrap();
        let (batch, network) = (Buffer::from(batch), Buffer::from(network));
        let inputs = [&batch[..], &network[..]];
        let mut sink = HeapSink::default();
        let mut context = Context::new(&params, &inputs, &mut sink, &Always);
        entry.kernel.run(&mut context).map_err(|error| error.to_string())?;
        let notes = context.notes();
        let output = sink.into_outputs().remove(0);
        Ok((npy::parse(&output).unwrap().floats().unwrap().into_owned(), notes))
    }

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn network(layers: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
        let data: Vec<Vec<u8>> = layers.iter().map(|(_, _, values)| bytes(values)).collect();
        let views = layers.iter().zip(&data).map(|((name, shape, _), data)| {
            (*name, TensorView::new(safetensors::Dtype::F32, shape.to_vec(), data).unwrap())
        });
        serialize(views.collect::<Vec<_>>(), None).unwrap()
    }

    fn batch_of(rows: usize, values: &[f32]) -> Vec<u8> {
        [npy::header(Dtype::F32, &[rows, values.len() / rows]), bytes(values)].concat()
    }

    #[test]
    fn a_network_worked_out_by_hand() {
        // Hidden: relu([1 - 2, 1 + 2] + [0.5, 0]) = [0, 3]; out: [0, 3] -> softmax.
        let network = network(&[
            ("net.10.weight", &[2, 2], &[1.0, 0.0, 0.0, 1.0]),
            ("net.2.weight", &[2, 2], &[1.0, -1.0, 1.0, 1.0]),
            ("net.2.bias", &[2], &[0.5, 0.0]),
        ]);
        let got = run(&batch_of(1, &[1.0, 2.0]), &network).unwrap();
        let e = 3.0_f64.exp();
        let expected = [1.0 / (1.0 + e), e / (1.0 + e)];
        for (got, expected) in got.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn a_layer_beyond_the_largest_float_is_remarked_on_and_hides_no_nan() {
        // 3e38 + 3e38 - 3e38 - 3e38, whose sum in some order is not a number; then 1 to it.
        let big = 3e38;
        let network = network(&[
            ("0.weight", &[1, 4], &[1.0, 1.0, -1.0, -1.0]),
            ("1.weight", &[2, 1], &[1.0, 1.0]),
        ]);
        let (got, notes) = run_noted(&batch_of(1, &[big, big, big, big]), &network).unwrap();
        assert_eq!(notes.contains(Note::Overflow), got[0].is_nan(), "{got:?}");
        let (got, notes) = run_noted(&batch_of(1, &[big, big, 0.0, 0.0]), &network).unwrap();
        assert!(notes.contains(Note::Overflow) && got.iter().all(|p| p.is_nan()), "{got:?}");
        // What is too low is cut to zero all the same, and the remark stays.
        let (got, notes) = run_noted(&batch_of(1, &[0.0, 0.0, big, big]), &network).unwrap();
        assert!(notes.contains(Note::Overflow) && got == [0.5, 0.5], "{got:?}");
        let (_, notes) = run_noted(&batch_of(1, &[big, 0.0, 0.0, 0.0]), &network).unwrap();
        assert!(notes.is_empty());
    }

    #[test]
    fn a_batch_of_other_types_is_the_same_batch() {
        let network = network(&[("0.weight", &[2, 2], &[1.0, 0.0, 0.0, 1.0])]);
        let expected = run(&batch_of(1, &[1.0, 3.0]), &network).unwrap();
        let of = |dtype, data: &[u8]| [&npy::header(dtype, &[1, 2])[..], data].concat();
        for batch in [
            of(Dtype::U8, &[1, 3]),
            of(Dtype::I64, &[1_i64.to_le_bytes(), 3_i64.to_le_bytes()].concat()),
            of(Dtype::F16, &[0, 0x3c, 0, 0x42]),
        ] {
            assert_eq!(run(&batch, &network).unwrap(), expected);
        }
        let wide = [1_f64.to_le_bytes(), 3_f64.to_le_bytes()].concat();
        let error = run(&of(Dtype::F64, &wide), &network).unwrap_err();
        assert!(error.contains("input 1: it is float64, and float32 would lose digits"), "{error}");
    }

    #[test]
    fn probabilities_add_up_to_one() {
        let inputs = Mlp.synthesize(Size::Count(5), 1).unwrap();
        let got = run(&inputs[0], &inputs[1]).unwrap();
        assert_eq!(got.len(), 50);
        for row in got.chunks_exact(10) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let good = network(&[("0.weight", &[1, 2], &[1.0, 1.0])]);
        let batch = batch_of(1, &[1.0, 2.0]);
        let mut hostile = good.clone();
        hostile[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        let cases: Vec<(Vec<u8>, Vec<u8>, &str)> = vec![
            (batch_of(1, &[1.0]), good.clone(), "layer 0 takes 2 features, but gets 1"),
            (batch_of(1, &[1.0, f32::NAN]), good.clone(), "input 1 holds NaN at [0, 1]"),
            (Vec::new(), good.clone(), "input 1: empty file"),
            (batch.clone(), Vec::new(), "no safetensors file"),
            (batch.clone(), hostile, "no safetensors file"),
            (batch.clone(), good[..good.len() - 1].to_vec(), "no safetensors file"),
            (batch.clone(), network(&[]), "no layers"),
            (batch.clone(), network(&[("x", &[1], &[1.0])]), "a tensor `x`"),
            (batch.clone(), network(&[("0.bias", &[1], &[1.0])]), "does not fit"),
            (batch, network(&[("0.weight", &[2], &[1.0, 1.0])]), "does not fit"),
        ];
        for (batch, network, expected) in cases {
            let error = run(&batch, &network).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
