# Short names for the commands in the README. Nothing here does more than those do.

# List the recipes.
default:
    @just --list

# Everything a change must pass.
check:
    tests/run
    cargo deny check

# The Rust tests alone.
test *ARGS:
    cargo test --locked {{ARGS}}

# The whole job on this machine, with invented people.
demo *ARGS:
    cargo run --release --locked -- demo {{ARGS}}

# How fast a message is accepted, beside the ceiling.
bench *ARGS:
    cargo bench --locked --bench accept {{ARGS}}

# The schemas' examples, judged by Python and by Node.
contract:
    tests/run contract-python contract-node
