//! What watching costs: CPU time of a server per 1,000 runs, measured against another build or other options.
