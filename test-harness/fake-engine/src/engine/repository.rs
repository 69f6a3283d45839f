//! Triton's models: which there are, and which are loaded.

use crate::script::Script;

/// What a model's life has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    NeverLoaded,
    Ready,
    Unloaded,
    /// Loading failed, for this reason.
    Failed(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) state: State,
    loads: bool,
}

/// All models, by name.
#[derive(Clone, Debug)]
pub(crate) struct Repository(Vec<Model>);

/// Why a model was not loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotLoaded {
    Unknown,
    Failed(String),
}

const CORRUPT: &str = "Internal: RuntimeError: weights file is corrupt\n";

impl Repository {
    pub(crate) fn new(script: &Script) -> Self {
        let model = |name: &str, loads: bool| Model {
            name: name.to_owned(),
            state: if loads {
                State::Ready
            } else {
                State::NeverLoaded
            },
            loads,
        };
        let others = &script.triton.other_models;
        let mut models: Vec<Model> = others.iter().map(|it| model(&it.name, it.loads)).collect();
        models.push(model(&script.model, true));
        models.sort_by(|one, other| one.name.cmp(&other.name));
        Self(models)
    }

    pub(crate) fn models(&self) -> &[Model] {
        &self.0
    }

    pub(crate) fn state(&self, name: &str) -> Option<&State> {
        let model = self.0.iter().find(|model| model.name == name)?;
        Some(&model.state)
    }

    /// Whether nothing was unloaded or failed. A model never loaded does not count.
    pub(crate) fn is_ready(&self) -> bool {
        let is_fine = |model: &Model| matches!(model.state, State::Ready | State::NeverLoaded);
        self.0.iter().all(is_fine)
    }

    pub(crate) fn load(&mut self, name: &str) -> Result<(), NotLoaded> {
        let model = self.0.iter_mut().find(|model| model.name == name);
        let model = model.ok_or(NotLoaded::Unknown)?;
        if model.loads {
            model.state = State::Ready;
            Ok(())
        } else {
            model.state = State::Failed(CORRUPT.to_owned());
            Err(NotLoaded::Failed(CORRUPT.to_owned()))
        }
    }

    /// Unloads a model. One that is unknown, or failed, stays as it is.
    pub(crate) fn unload(&mut self, name: &str) {
        let model = self.0.iter_mut().find(|model| model.name == name);
        if let Some(model) = model.filter(|model| model.state == State::Ready) {
            model.state = State::Unloaded;
        }
    }
}
