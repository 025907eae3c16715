//! The order of the rooms of each crate: the one place to edit when a room comes, goes or moves.
//!
//! Lowest first. A room imports only from lines below its own, and from itself; rooms on one line
//! do not import each other. A room is a module at the top of a crate with all that is in it, named
//! as in paths, or a deeper module where the table names it (`paper::experiment`). The file of the
//! crate's root (lib.rs, main.rs) has the name `crate`.

/// The rooms of a crate.
#[derive(Debug)]
pub struct Order {
    /// The name of the library or program, as `cargo metadata` has it.
    pub name: &'static str,
    pub lines: &'static [Line],
}

/// Rooms beside each other, and why they are there.
#[derive(Debug)]
pub struct Line {
    pub rooms: &'static [&'static str],
    pub reason: &'static str,
}

const fn line(rooms: &'static [&'static str], reason: &'static str) -> Line {
    Line { rooms, reason }
}

/// Crates that have only a root file need no order.
pub const ORDERS: &[Order] = &[
    Order {
        name: "qrnn_ops",
        lines: &[
            line(&["error"], "every room returns it"),
            line(&["crate"], "re-exports the error, so that rooms write `use crate::Result`"),
            line(&["atomic_file", "user_cache"], "files; their errors are the crate's"),
            line(&["simd"], "element types and math, without a tensor"),
            line(&["libtorch"], "what libtorch has and tch does not bind"),
            line(&["autograd"], "custom functions on tch tensors"),
            line(&["cuda"], "driver, compiler, image cache, launch: knows no operation"),
            line(&["profile"], "spans of stages, timed by the clock of cuda"),
            line(&["matmul", "dropout_mask"], "operations that need no other operation"),
            line(&["fo_pool", "split_softmax", "adam"], "operations that multiply or mask"),
            line(&["self_test"], "tries every operation"),
            line(&["device"], "chooses a device, after its self-test"),
        ],
    },
    Order {
        name: "qrnn",
        lines: &[
            line(&["error"], "every room returns it"),
            line(&["crate"], "re-exports the error, so that rooms write `use crate::Result`"),
            line(&["format", "json", "random", "terminal"], "text and numbers, no domain"),
            line(&["files", "notebook", "progress"], "how work is stored and shown"),
            line(&["interrupt"], "a signal, or the notebook's button"),
            line(&["data"], "text to batches"),
            line(&["model"], "batches to a loss"),
            line(&["evaluate", "generate"], "what a model is good for, trained or not"),
            line(&["train"], "validates with evaluate"),
            line(&["paper"], "the published tables; experiment trains their rows"),
            line(&["view"], "shows results; no room below knows its screen"),
            line(&["command_line"], "flags and exit status of our programs"),
            line(&["prelude"], "what notebooks import"),
        ],
    },
    Order {
        name: "qrnn-bench",
        lines: &[
            line(
                &[
                    "device",
                    "precision",
                    "products",
                    "python",
                    "random_tokens",
                    "shape",
                    "stages",
                    "statistics",
                    "subprocess",
                    "zipf",
                ],
                "what is measured, and with what",
            ),
            line(&["report"], "text, JSON and records"),
            line(&["baselines", "roofline"], "implementations in Python; limits of the machine"),
            line(&["corpus", "curves", "evaluate", "pool", "step"], "the benches"),
            line(&["crate"], "picks the bench"),
        ],
    },
    Order {
        name: "qrnn-jupyter",
        lines: &[
            line(&["error"], "every room returns it"),
            line(&["torch_search_path", "env_vars", "terminal"], "names and output, no room"),
            line(&["toolchain", "protocol"], "rustc's folders; sockets and messages"),
            line(&["cells"], "parses and rewrites a cell, without running it"),
            line(&["notebook"], "what the cells of a notebook have defined"),
            line(&["rust_analyzer", "rustc"], "asks rust-analyzer; wraps rustc"),
            line(&["child"], "the process in which cells run"),
            line(&["evcxr_backend", "install"], "runs cells by evcxr; installs the kernel"),
            line(&["frontend"], "answers Jupyter's requests"),
            line(&["crate"], "picks the role of the process"),
        ],
    },
    Order {
        name: "qrnn_preload",
        lines: &[
            line(&["crate"], "how a cell reports to the kernel"),
            line(&["store"], "variables between cells"),
        ],
    },
    Order {
        name: "xtask",
        lines: &[
            line(&["error"], "every room returns it"),
            line(&["terminal"], "how results and notes are written"),
            line(&["workspace", "generated"], "where the repository is, and files that it holds"),
            line(&["setup"], "installs libtorch"),
            line(&["cargo"], "builds after set-up"),
            line(
                &["cuda_dry_run", "docs", "gpu_pack", "jupyter", "layers", "release"],
                "the commands that have parts, which do not know each other",
            ),
            line(&["commands"], "the list of commands"),
            line(&["crate"], "reads the command line"),
        ],
    },
    Order {
        name: "reproduce",
        lines: &[
            line(&["brought_torch", "model_flags"], "what several commands share"),
            line(&["preset"], "sets model_flags"),
            line(
                &["count", "data", "evaluate", "generate", "plot", "table", "train"],
                "the commands, which do not know each other",
            ),
            line(&["crate"], "picks the command"),
            line(&["early"], "runs before main"),
        ],
    },
];

/// How to write a line for a room that is not in the table.
pub const REMEDY: &str =
    "give it a line in xtask/src/layers/table.rs: above all rooms that it imports from";

/// What to do about a room of the table that is not there.
pub const GONE: &str = "delete it from xtask/src/layers/table.rs, or give it its new name";
