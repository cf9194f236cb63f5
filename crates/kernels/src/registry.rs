use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use brigade_proto::{Params, Value};

use crate::{Kernel, ParamError, ParamSpec, Spec};

/// A kernel's place in its registry. Coordinator and worker are the same
/// executable with the same registry, so the place means the same to both; the
/// handshake compares the names all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KernelId(pub u32);

/// A kernel with its specification.
pub struct RegisteredKernel {
    /// Its place.
    pub id: KernelId,
    /// What it is called, takes and gives.
    pub spec: Spec,
    /// The computation.
    pub kernel: Box<dyn Kernel>,
    /// Its complete parameters when none is given, if it can do with that. Made when they are
    /// asked for: a worker never does, and every worker has a registry of its own.
    defaults: OnceLock<Option<Arc<Params>>>,
}

impl fmt::Debug for RegisteredKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisteredKernel({})", self.spec.name)
    }
}

/// The kernels that a program can run, by name.
#[derive(Debug, Default)]
pub struct Registry {
    kernels: Vec<RegisteredKernel>,
    by_name: BTreeMap<&'static str, usize>,
}

impl Registry {
    /// No kernels.
    pub fn empty() -> Self {
        Self::default()
    }

    /// All built-in kernels of the enabled features.
    pub fn builtin() -> Self {
        let families = [
            #[cfg(feature = "image")]
            crate::image::kernels(),
            #[cfg(feature = "image")]
            crate::vision::kernels(),
            #[cfg(feature = "matrix")]
            crate::matrix::kernels(),
            #[cfg(feature = "audio")]
            crate::audio::kernels(),
            #[cfg(feature = "learning")]
            crate::learning::kernels(),
            crate::measuring::kernels(),
            crate::faults::kernels(),
        ];
        let mut registry = Self::empty();
        families.into_iter().flatten().for_each(|kernel| registry.push(kernel));
        registry
    }

    /// Adds a kernel.
    ///
    /// # Panics
    /// When there is one of that name already.
    pub fn with(mut self, kernel: impl Kernel) -> Self {
        self.push(Box::new(kernel));
        self
    }

    fn push(&mut self, kernel: Box<dyn Kernel>) {
        let spec = kernel.spec();
        let place = self.kernels.len();
        let earlier = self.by_name.insert(spec.name, place);
        assert!(earlier.is_none(), "two kernels are called `{}`", spec.name);
        let id = KernelId(place as u32);
        self.kernels.push(RegisteredKernel { id, spec, kernel, defaults: OnceLock::new() });
    }

    /// All kernels, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &RegisteredKernel> {
        self.kernels.iter()
    }

    /// The kernel at a place.
    pub fn get(&self, id: KernelId) -> Option<&RegisteredKernel> {
        self.kernels.get(id.0 as usize)
    }

    /// The kernel of that name.
    ///
    /// # Errors
    /// [`ParamError::UnknownKernel`] with all names and the nearest.
    pub fn find(&self, name: &str) -> Result<&RegisteredKernel, ParamError> {
        match self.by_name.get(name) {
            Some(&place) => Ok(&self.kernels[place]),
            None => Err(self.unknown_kernel(name)),
        }
    }

    #[cold]
    fn unknown_kernel(&self, name: &str) -> ParamError {
        ParamError::UnknownKernel {
            name: name.to_owned(),
            similar: nearest(name, self.by_name.keys().copied()),
            known: self.by_name.keys().map(|&name| name.to_owned()).collect(),
        }
    }
}

impl Spec {
    /// All parameters at their defaults, if each has one.
    fn defaults(&self) -> Option<Arc<Params>> {
        let default = |param: &ParamSpec| Some((param.name, param.default.clone()?));
        self.params.iter().map(default).collect::<Option<Params>>().map(Arc::new)
    }
}

impl RegisteredKernel {
    /// The value of a parameter as written on a command line.
    ///
    /// # Errors
    /// When there is no such parameter or the value is not allowed; the message
    /// lists what is.
    pub fn parse_param(&self, name: &str, text: &str) -> Result<Value, ParamError> {
        let param = self.param(name)?;
        param.parse(text).ok_or_else(|| self.bad_value(param, text))
    }

    /// The value of a parameter that came with a type of its own, as in JSON, converted to the
    /// parameter's where nothing is lost by it. `text` is how it was written, for the message.
    ///
    /// # Errors
    /// When there is no such parameter, or the value is of another type or not allowed.
    pub fn check_param(&self, name: &str, value: &Value, text: &str) -> Result<Value, ParamError> {
        let param = self.param(name)?;
        let checked = param.kind.check(value);
        checked.ok_or_else(|| match param.kind.is_type_of(value) {
            true => self.bad_value(param, text),
            false => self.wrong_type(name, text, type_of(value)),
        })
    }

    /// The refusal of a value that is of no type that a parameter can have, as `a list`; `text` is
    /// how it was written.
    #[cold]
    pub fn wrong_type(&self, name: &str, text: &str, given: &'static str) -> ParamError {
        match self.param(name) {
            Ok(param) => ParamError::WrongType {
                kernel: self.spec.name.to_owned(),
                name: param.name.to_owned(),
                value: text.to_owned(),
                types: format!("{} is expected, {given} was given", param.kind.type_name()),
                allowed: param.allowed(),
            },
            Err(unknown) => unknown,
        }
    }

    /// The complete parameters of a job: what was given, checked, and the
    /// defaults of the rest. Jobs that give none share theirs.
    ///
    /// # Errors
    /// On the first parameter that does not exist, is not allowed, or is missing,
    /// and on a wrong number of inputs.
    pub fn resolve(&self, given: &Params, inputs: usize) -> Result<Arc<Params>, ParamError> {
        if given.is_empty()
            && let Some(defaults) = self.defaults.get_or_init(|| self.spec.defaults())
        {
            self.check_input_count(inputs)?;
            return Ok(Arc::clone(defaults));
        }
        for (name, _) in given.iter() {
            self.param(name)?;
        }
        let mut complete = Params::new();
        for param in &self.spec.params {
            let value = match given.get(param.name) {
                Some(value) => match param.kind.check(value) {
                    Some(value) => value,
                    None => self.check_param(param.name, value, &written(value))?,
                },
                None => param.default.clone().ok_or_else(|| ParamError::MissingParam {
                    kernel: self.spec.name.to_owned(),
                    name: param.name.to_owned(),
                    allowed: param.allowed(),
                })?,
            };
            complete.set(param.name, value);
        }
        self.check_input_count(inputs)?;
        Ok(Arc::new(complete))
    }

    fn check_input_count(&self, given: usize) -> Result<(), ParamError> {
        let inputs = &self.spec.inputs;
        if (inputs.min..=inputs.max).contains(&given) {
            return Ok(());
        }
        let expected = match (inputs.min, inputs.max) {
            (1, 1) => "1 input".to_owned(),
            (min, max) if min == max => format!("{min} inputs"),
            (min, max) => format!("{min} to {max} inputs"),
        };
        Err(ParamError::InputCount {
            kernel: self.spec.name.to_owned(),
            expected,
            doc: inputs.doc.to_owned(),
            given,
        })
    }

    fn param(&self, name: &str) -> Result<&ParamSpec, ParamError> {
        let found = self.spec.params.iter().find(|param| param.name == name);
        found.ok_or_else(|| self.unknown_param(name))
    }

    #[cold]
    fn unknown_param(&self, name: &str) -> ParamError {
        let allowed = if self.spec.params.is_empty() {
            "it takes none".to_owned()
        } else {
            let all = self.spec.params.iter().map(|p| format!("{}, {}", p.name, p.allowed()));
            format!("it takes: {}", all.collect::<Vec<_>>().join("; "))
        };
        ParamError::UnknownParam {
            kernel: self.spec.name.to_owned(),
            name: name.to_owned(),
            similar: nearest(name, self.spec.params.iter().map(|p| p.name)),
            allowed,
        }
    }

    #[cold]
    fn bad_value(&self, param: &ParamSpec, value: &str) -> ParamError {
        ParamError::BadValue {
            kernel: self.spec.name.to_owned(),
            name: param.name.to_owned(),
            value: value.to_owned(),
            allowed: param.allowed(),
        }
    }
}

/// What JSON calls the type of a value.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Int(_) | Value::Float(_) => "a number",
        Value::Bool(_) => "a truth value",
        Value::Text(_) => "a string",
    }
}

/// A value that shows its type.
fn written(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// The candidate that was probably meant: at most a third of its letters differ.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Inputs, KernelError, Progress};

    struct SampleKernel;

    impl Kernel for SampleKernel {
        fn spec(&self) -> Spec {
            Spec::new("sample", "For tests")
                .param(ParamSpec::float("sigma", 0.1..=100.0, "").default(2.0))
                .param(ParamSpec::int("width", 1..=10, ""))
                .inputs(Inputs::exactly(1, "any bytes"))
        }
        fn run(&self, _: &mut Context<'_>) -> Result<Progress, KernelError> {
            Ok(Progress::Done)
        }
    }

    fn resolve(given: &[(&str, Value)], inputs: usize) -> Result<Arc<Params>, String> {
        let registry = Registry::empty().with(SampleKernel);
        let given = given.iter().cloned().collect();
        registry.find("sample").unwrap().resolve(&given, inputs).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_filled_in() {
        let params = resolve(&[("width", Value::Int(3))], 1).unwrap();
        assert_eq!(params.get("sigma"), Some(&Value::Float(2.0)));
        assert_eq!(params.get("width"), Some(&Value::Int(3)));
    }

    #[test]
    fn every_error_says_what_is_allowed() {
        let cases = [
            (
                resolve(&[("sgima", Value::Float(1.0))], 1),
                "`sample` has no parameter `sgima` (did you mean `sigma`?); it takes: sigma, a real \
                 number from 0.1 to 100 (default 2); width, a whole number from 1 to 10",
            ),
            (
                resolve(&[("width", Value::Int(11))], 1),
                "`sample` cannot take width=11: width is a whole number from 1 to 10",
            ),
            (
                resolve(&[("width", Value::Text("7".into()))], 1),
                "`sample` cannot take width=\"7\": a whole number is expected, a string was given; \
                 width is a whole number from 1 to 10",
            ),
            (
                resolve(&[("sigma", Value::Bool(true))], 1),
                "`sample` cannot take sigma=true: a number is expected, a truth value was given; \
                 sigma is a real number from 0.1 to 100 (default 2)",
            ),
            (resolve(&[], 1), "`sample` needs width: a whole number from 1 to 10"),
            (resolve(&[("width", Value::Int(1))], 2), "`sample` reads 1 input (any bytes), not 2"),
        ];
        for (result, expected) in cases {
            assert_eq!(result.unwrap_err(), expected);
        }
        let unknown = Registry::empty().with(SampleKernel).find("smaple").unwrap_err().to_string();
        assert_eq!(
            unknown,
            "there is no kernel `smaple` (did you mean `sample`?); there are: sample"
        );
    }

    #[test]
    #[should_panic(expected = "two kernels are called `sample`")]
    fn names_are_unique() {
        let _ = Registry::empty().with(SampleKernel).with(SampleKernel);
    }
}
