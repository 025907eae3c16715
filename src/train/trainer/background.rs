//! Runs whose checkpoints are written in the background, as on a GPU, here on the CPU.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::tests::{corpus, model, recipe};
use super::*;
use crate::files::run_folder::checkpoints;
use crate::files::tensor_file;
use crate::progress::{Progress, Silent, StepReport};
use crate::train::OptimizerKind;

impl Trainer {
    fn in_background(mut self) -> Self {
        self.in_background = Some(true);
        self
    }

    /// A checkpoint whenever the losses are known, unless one is being written.
    fn all_the_time(mut self) -> Self {
        self.checkpoint_interval = Some(CheckpointInterval::Time(Duration::ZERO));
        self
    }
}

/// Does something of the test's at one step.
struct At<F>(u64, F);

impl<F: FnMut() + Send> Progress for At<F> {
    fn step(&mut self, step: &StepReport) {
        if step.step == self.0 {
            self.1();
        }
    }
}

/// The steps of a folder's checkpoints.
fn steps_of_checkpoints(folder: &Path) -> Vec<u64> {
    checkpoints(folder).unwrap().into_iter().map(|(step, _)| step).collect()
}

/// As [`steps_of_checkpoints`], each of which must be whole.
fn whole_checkpoints(folder: &Path) -> Vec<u64> {
    for (_, path) in checkpoints(folder).unwrap() {
        assert!(tensor_file::has_checksum(&tensor_file::read(&path, "").unwrap()), "{path:?}");
    }
    steps_of_checkpoints(folder)
}

/// Files that a write has not given their name yet.
fn unfinished(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with(".writing-")).count()
}

fn check_same(a: &(TrainingRun, QrnnLm), b: &(TrainingRun, QrnnLm)) {
    assert_eq!(a.0.losses, b.0.losses);
    assert_eq!(a.0.test_loss, b.0.test_loss);
    for ((name, a), (_, b)) in a.1.parameters().into_iter().zip(b.1.parameters()) {
        assert_eq!(a, b, "{name}");
    }
}

/// A run that panics is ended by its last checkpoint in the background, and goes on from there.
#[test]
fn resuming_from_the_background_equals_not_stopping_to_the_bit() {
    for optimizer in [OptimizerKind::Adam, OptimizerKind::Sgd] {
        let recipe = Recipe { nonmono: 0, ..recipe().epochs(3).optimizer(optimizer).lr(4e-3) };
        let (corpus, folder) = (corpus(), tempfile::tempdir().unwrap());
        let mut whole = model(&corpus, 0.2);
        let undisturbed =
            Trainer::new(recipe.clone()).fit_with(&mut whole, &corpus, &mut Silent).unwrap();
        for stop in [7, 30, undisturbed.losses.len() as u64 - 3] {
            let mut panics = At(stop, || panic!("on purpose"));
            let trainer = Trainer::new(recipe.clone())
                .folder(folder.path())
                .resume(true)
                .in_background()
                .all_the_time();
            let mut model = model(&corpus, 0.2);
            let fit = AssertUnwindSafe(|| trainer.fit_with(&mut model, &corpus, &mut panics));
            assert!(catch_unwind(fit).is_err());
            let steps = whole_checkpoints(folder.path());
            assert!(steps.len() <= 2 && steps.iter().all(|&step| step < stop), "{steps:?}");
            assert_eq!(unfinished(folder.path()), 0);
        }
        assert_eq!(whole_checkpoints(folder.path()).len(), 2);
        let mut resumed = model(&corpus, 0.2);
        let run = Trainer::new(recipe)
            .folder(folder.path())
            .resume(true)
            .in_background()
            .fit_with(&mut resumed, &corpus, &mut Silent)
            .unwrap();
        check_same(&(run, resumed), &(undisturbed, whole));
    }
}

/// The losses of 4 steps are read at once, so that the clock is looked at after 4, 8, 12 and 16; the
/// end of the run writes one, too.
#[test]
fn the_clock_is_looked_at_where_losses_are_read() {
    let corpus = corpus();
    let kept = |trainer: Trainer| {
        let folder = tempfile::tempdir().unwrap();
        let trainer = trainer.folder(folder.path()).losses_at_once(4).log_every(u64::MAX);
        trainer.fit_with(&mut model(&corpus, 0.0), &corpus, &mut Silent).unwrap();
        assert_eq!(unfinished(folder.path()), 0);
        whole_checkpoints(folder.path())
    };
    let trainer = || Trainer::new(Recipe { steps: Some(18), ..recipe() });
    assert_eq!(kept(trainer()), [18]);
    assert_eq!(kept(trainer().all_the_time()), [16, 18]);
    assert_eq!(kept(trainer().all_the_time().checkpoint_every(7)), [14, 18]);
    let in_background = kept(trainer().all_the_time().in_background());
    assert!(in_background.len() == 2 && in_background[1] == 18, "{in_background:?}");
}

#[test]
fn what_stops_the_thread_stops_the_run_as_if_there_were_none() {
    let corpus = corpus();
    let message = |background: bool| {
        let folder = tempfile::tempdir().unwrap();
        // A folder in a checkpoint's place makes the rename fail.
        let taken: Vec<_> = (6..200).map(|i| format!("checkpoint-{i}.safetensors")).collect();
        let path = folder.path().to_owned();
        let spoil = move || {
            taken.iter().for_each(|name| std::fs::create_dir(path.join(name)).unwrap());
        };
        let mut trainer =
            Trainer::new(recipe().epochs(100)).folder(folder.path()).checkpoint_every(6);
        if background {
            trainer = trainer.in_background();
        }
        let mut spoils = At(5, spoil);
        let error = trainer.fit_with(&mut model(&corpus, 0.0), &corpus, &mut spoils).unwrap_err();
        assert_eq!(unfinished(folder.path()), 0);
        error.to_string().replace(folder.path().to_str().unwrap(), "")
    };
    let (at_once, later) = (message(false), message(true));
    assert!(at_once.starts_with("/checkpoint-6.safetensors: cannot write"), "{at_once}");
    assert_eq!(at_once, later);
}

/// Names the folder to the process that is to be killed.
const FOLDER: &str = "QRNN_TEST_FOLDER";

fn long_recipe() -> Recipe {
    recipe().epochs(8)
}

#[test]
#[ignore = "a process that another test starts"]
fn process_with_checkpoints_all_the_time() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let corpus = corpus();
    Trainer::new(long_recipe())
        .folder(folder)
        .resume(true)
        .in_background()
        .all_the_time()
        .fit_with(&mut model(&corpus, 0.2), &corpus, &mut Silent)
        .unwrap();
}

/// This program, to run the test above, perhaps with a shell's settings before it.
fn process(folder: &Path, settings: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{settings} exec \"$@\""), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--nocapture", "process_with_checkpoints_all_the_time"])
        .env(FOLDER, folder)
        .env("OMP_NUM_THREADS", "1");
    command
}

/// Kills without a chance to clean up, as soon as a file is seen that is not finished.
#[test]
fn a_kill_in_the_middle_of_a_write_leaves_the_checkpoint_before() {
    let (corpus, folder) = (corpus(), tempfile::tempdir().unwrap());
    let (mut kills, mut in_the_middle) = (0, 0);
    while in_the_middle < 3 {
        let mut child =
            process(folder.path(), "").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (had, left) = (whole_checkpoints(folder.path()), unfinished(folder.path()));
        // Not before it has one of its own.
        while steps_of_checkpoints(folder.path()).len() < 2
            || steps_of_checkpoints(folder.path()) == had
            || unfinished(folder.path()) == left
        {
            assert!(child.try_wait().unwrap().is_none(), "done after {kills} kills");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        in_the_middle += usize::from(unfinished(folder.path()) > left);
        assert!(kills < 30, "{in_the_middle} of {kills} kills");
        // Between the new name and the deletion of the oldest there are three.
        let steps = whole_checkpoints(folder.path());
        assert!((2..=3).contains(&steps.len()) && steps > had, "{had:?}, {steps:?}");
    }
    let fit = |folder: Option<&Path>| {
        let mut model = model(&corpus, 0.2);
        let mut trainer = Trainer::new(long_recipe()).resume(true);
        if let Some(folder) = folder {
            trainer = trainer.folder(folder);
        }
        let run = trainer.fit_with(&mut model, &corpus, &mut Silent).unwrap();
        (run, model)
    };
    check_same(&fit(Some(folder.path())), &fit(None));
}

/// Simulates a full disk: the weights of 0.2 MB fit, but the first checkpoint of 0.6 MB does not.
#[test]
fn a_full_disk_ends_the_run_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let ran = process(folder.path(), "trap '' XFSZ; ulimit -f 800;").output().unwrap();
    assert!(!ran.status.success());
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        said.contains(".safetensors: cannot write") && said.contains("free some space"),
        "{said}"
    );
    assert!(whole_checkpoints(folder.path()).is_empty());
    assert_eq!(unfinished(folder.path()), 0);
}
