//! How a line looks: its colour is its backend's throughout the page, its dashes and
//! its marker tell it from other lines of that backend and from all others.

/// The look of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Classes of `style.css`: colour and dashes.
    pub(crate) class: String,
    /// Marker, see [`super::svg::marker`].
    pub(crate) shape: usize,
}

/// The class of a backend's colour. A name that is not known has the neutral colour,
/// and never becomes a class: names in a file are anybody's.
pub(crate) fn colour(backend: Option<&str>) -> &'static str {
    match backend {
        Some("sync") => "c-sync",
        Some("async") => "c-async",
        Some("threads") => "c-threads",
        Some("threads-gil") => "c-gil",
        Some("processes") => "c-processes",
        _ => "c-other",
    }
}

/// Looks for series of these backends; `None` is a floor or a peer.
pub(crate) fn looks(backends: &[Option<&str>]) -> Vec<Look> {
    let look = |(index, backend): (usize, &Option<&str>)| {
        let before = backends[..index].iter().filter(|other| *other == backend).count();
        let dashes = if backend.is_some() { before % 4 } else { 4 };
        Look { class: format!("{} d{dashes}", colour(*backend)), shape: index % 6 }
    };
    backends.iter().enumerate().map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_backend_differ_in_dashes_and_all_in_shape() {
        let looks = looks(&[Some("threads"), Some("processes"), Some("processes"), None]);
        assert_eq!(looks[1].class, "c-processes d0");
        assert_eq!(looks[2].class, "c-processes d1");
        assert_eq!(looks[3].class, "c-other d4");
        assert_eq!(looks.iter().map(|look| look.shape).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(colour(Some("\"><script>")), "c-other");
    }
}
