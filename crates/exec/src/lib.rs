//! Brigade's executors: sync, async, threads, threads-gil and processes behind one trait.
