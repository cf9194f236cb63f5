//! What Brigade measures: summaries of spans, and the machine it measured on.
