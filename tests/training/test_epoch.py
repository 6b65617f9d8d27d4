from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_fold import SIDE, tiny_fold, with_config

from pipeline.config import AugmentConfig, SamplerConfig, TrainingConfig, UserError
from pipeline.images.batches import BatchSource
from pipeline.images.packed import Normalisation
from pipeline.training import epoch as epoch_module
from pipeline.training.epoch import TrainPart, _split, outputs, predict, train_epoch
from pipeline.training.evaluated import EVAL_BATCH
from pipeline.training.job import seed_for
from pipeline.training.learner import build_learner, seed_everything

MONAI_NOISE = {"_target_": "monai.transforms.RandGaussianNoise", "prob": 1.0, "std": 0.5}


@pytest.fixture
def job(tmp_path):
    return tiny_fold(tmp_path)


def part_of(job):
    normalisation = Normalisation((0.0,), (1.0,))
    return TrainPart(job, BatchSource.open(job.images, normalisation, torch.device("cpu")))


def drawn(part, epoch):
    return [(images.clone(), labels.clone()) for images, labels, *_ in part.batches(epoch)]


def are_equal(found, expected):
    assert len(found) == len(expected) > 0
    return all(
        torch.equal(one, other)
        for pair, pair2 in zip(found, expected, strict=True)
        for one, other in zip(pair, pair2, strict=True)
    )


def rows_of(images):
    """The row that each image came from, when it was not changed."""
    return images.mean(dim=(1, 2, 3)).round().long()


@pytest.mark.parametrize("size", range(2, 12))
def test_no_batch_is_left_with_a_single_image(size):
    for num_rows in range(2, 60):
        rows = np.random.default_rng(num_rows).permutation(1000)[:num_rows]
        batches = _split(rows, size)
        assert torch.cat(batches).tolist() == rows.tolist()
        assert all(2 <= len(batch) <= size + 1 for batch in batches)
        assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)


@pytest.mark.parametrize("size", [1, 2, 5, 23, 24, 99])
def test_the_batches_of_an_epoch_are_counted_before_they_are_made(job, size):
    """24 images: with 23 a batch, the last image joins the others."""
    job = with_config(job, training=TrainingConfig(batch_size=size, accumulate=2))
    ends = [batch.is_last for batch in part_of(job).batches(1)]
    assert (job.batches_per_epoch, job.steps_per_epoch) == (len(ends), sum(ends))


def test_a_part_of_one_image_is_one_batch():
    assert [batch.tolist() for batch in _split(np.array([7]), 4)] == [[7]]


@pytest.mark.parametrize("balance", ["none", "class", "patient", "class_patient"])
def test_an_epoch_holds_train_images_with_their_own_labels(job, balance):
    part = part_of(
        with_config(job, augment=AugmentConfig(), sampler=SamplerConfig(balance=balance))
    )
    images, labels = (torch.cat(tensors) for tensors in zip(*drawn(part, 1), strict=True))
    rows = rows_of(images)
    train = job.rows("train")
    assert len(rows) == len(train)
    assert set(rows.tolist()) <= set(train.tolist())
    assert labels.tolist() == job.manifest.labels[rows].tolist()
    if balance == "none":
        assert sorted(rows.tolist()) == train.tolist()


@pytest.mark.parametrize("augment", [{"noise": 0.1}, {"transforms": (MONAI_NOISE,)}], ids=str)
def test_an_epoch_is_a_function_of_seed_fold_and_epoch_only(job, augment):
    job = with_config(job, augment=AugmentConfig(**augment))
    part = part_of(job)
    first, second = drawn(part, 1), drawn(part, 2)
    torch.manual_seed(99)
    np.random.seed(99)
    fresh = part_of(job)
    next(fresh.batches(5))  # given up half way
    assert are_equal(drawn(fresh, 2), second)
    assert are_equal(drawn(fresh, 1), first)
    assert not are_equal(first, second)
    other_fold = part_of(replace(job, fold=replace(job.fold, index=1)))
    assert not are_equal(drawn(other_fold, 1), first)
    other_seed = part_of(with_config(job, training=replace(job.config.training, seed=1)))
    assert not are_equal(drawn(other_seed, 1), first)


def test_the_augmentation_is_drawn_anew_in_every_epoch_and_fold(job):
    job = with_config(job, augment=AugmentConfig(noise=1.0))
    blank = torch.zeros(len(job.manifest), 1, SIDE, SIDE)
    noise = []
    for index in range(2):
        part = part_of(replace(job, fold=replace(job.fold, index=index)))
        part.source = replace(part.source, pixels=blank)
        noise += [torch.cat([images for images, _ in drawn(part, epoch)]) for epoch in (1, 2)]
    for position, one in enumerate(noise):
        for other in noise[:position]:
            assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.1


def test_seeds_of_all_purposes_differ():
    arguments = [
        (s, f, e, p) for s in range(4) for f in range(4) for e in range(4) for p in range(3)
    ]
    seeds = [seed_for(*given) for given in arguments]
    assert len(set(seeds)) == len(arguments)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seeds == [seed_for(*given) for given in arguments]


def test_seeds_are_those_of_epochs_that_counted_from_0(job):
    """Else a run folder that was begun before would go on with other draws."""
    part = part_of(job)
    assert part.seed(1) == seed_for(0, 0, 0)
    assert part.seed(3, purpose=2) == seed_for(0, 0, 2, 2)


def silent(*_):
    raise AssertionError("a short epoch reports nothing")


def test_training_learns_and_is_repeatable(job):
    job = with_config(job, augment=AugmentConfig())
    losses: list[list[float]] = [[], []]
    for run, found in enumerate(losses):
        learner, part = build_learner(job), part_of(job)
        for epoch in range(1, 7):
            torch.manual_seed(run)  # what another worker did before, dropout must not feel
            found.append(train_epoch(learner, part, epoch, silent)["train/loss"])
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]


def test_the_mean_loss_counts_images_not_batches(job):
    """24 images in batches of 5: the last one holds 4."""
    job = with_config(job, augment=AugmentConfig(), training=TrainingConfig(batch_size=5))
    learner, part = build_learner(job), part_of(job)
    learner.optimizer.param_groups[0]["lr"] = 0.0
    learner.network = torch.nn.Sequential(
        *[layer for i, layer in enumerate(learner.network.children()) if i in (0, 4, 5, 6)]
    )
    found = train_epoch(learner, part, 1, silent)["train/loss"]
    images, labels = (torch.cat(tensors) for tensors in zip(*drawn(part, 1), strict=True))
    expected = learner.loss(learner.network(images), labels, torch.ones(24)).item()
    assert found == pytest.approx(expected, rel=1e-5)


def gradient(network):
    """All of it, as one row."""
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def gradients_of(job, monkeypatch, batch_size, accumulate, **sections):
    """Of each step of an epoch, without augmentation."""
    training = TrainingConfig(batch_size=batch_size, accumulate=accumulate, epochs=99)
    job = with_config(job, augment=AugmentConfig(), training=training, **sections)
    learner, part, found = build_learner(job), part_of(job), []
    learner.network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(SIDE * SIDE, 2))
    with torch.no_grad():
        for values in learner.network.parameters():
            values.copy_(torch.linspace(-0.1, 0.1, values.numel()).view(values.shape))

    def keep():
        found.append(gradient(learner.network))
        learner.network.zero_grad()
        return torch.zeros(())

    monkeypatch.setattr(learner, "step", keep)
    train_epoch(learner, part, 1, silent)
    return found


@pytest.mark.parametrize("weights", ["none", "inverse"])
def test_the_gradient_of_a_step_does_not_depend_on_the_batch_size(job, monkeypatch, weights):
    plain = {"loss": replace(job.config.loss, class_weights=weights), "sampler": SamplerConfig()}
    (whole,) = gradients_of(job, monkeypatch, 64, 1, **plain)
    assert whole.abs().max() > 0.01
    for batch_size, accumulate in ((1, 24), (4, 6), (5, 5), (1, "all"), (7, "all"), (1, 99)):
        (found,) = gradients_of(job, monkeypatch, batch_size, accumulate, **plain)
        torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-6)
    halves = gradients_of(job, monkeypatch, 4, 3, **plain)
    torch.testing.assert_close((halves[0] + halves[1]) / 2, whole, rtol=1e-6, atol=1e-6)
    uneven = gradients_of(job, monkeypatch, 4, 4, **plain)  # of 16 images and of 8
    mean = (16 * uneven[0] + 8 * uneven[1]) / 24
    torch.testing.assert_close(mean, whole, rtol=1e-6, atol=1e-6)


def moved(job, clip_norm):
    """How far one epoch of plain steps moves the weights, and the norm that it tells."""
    job = with_config(job, training=TrainingConfig(batch_size=24, clip_norm=clip_norm))
    learner, before = build_learner(job), build_learner(job)
    learner.optimizer = torch.optim.SGD(learner.network.parameters(), lr=1.0)
    norm = train_epoch(learner, part_of(job), 1, silent)["train/grad_norm"]
    ends = [torch.nn.utils.parameters_to_vector(n.network.parameters()) for n in (learner, before)]
    return float((ends[0] - ends[1]).detach().norm()), norm


def test_long_gradients_are_shortened_and_others_are_not(job):
    way, norm = moved(job, 0.0)
    assert way == pytest.approx(norm, rel=1e-5)
    assert moved(job, 2 * norm) == (way, norm)
    assert moved(job, norm / 4) == (pytest.approx(norm / 4, rel=1e-4), norm)


def test_the_average_of_the_weights_is_what_predicts(job, monkeypatch):
    job = with_config(job, training=TrainingConfig(average=0.9, batch_size=6))
    learner, part = build_learner(job), part_of(job)
    seen, steps = [], learner.step

    def step():
        norm = steps()
        seen.append(torch.nn.utils.parameters_to_vector(learner.network.parameters()).detach())
        return norm

    monkeypatch.setattr(learner, "step", step)
    train_epoch(learner, part, 1, silent)
    expected = seen[0]
    for weights in seen[1:]:
        expected = 0.9 * expected + 0.1 * weights
    found = torch.nn.utils.parameters_to_vector(learner.judged.parameters()).detach()
    torch.testing.assert_close(found, expected)
    logits = predict(learner, part.source, job.rows("val"))
    assert not torch.equal(
        logits, predict(replace(learner, averaged=None), part.source, job.rows("val"))
    )


def test_biases_and_norms_may_be_spared_the_decay(job):
    optimizer = {"_target_": "torch.optim.AdamW", "lr": 0.0, "weight_decay": 0.3}
    for training in (TrainingConfig(decay="all"), TrainingConfig(decay="weights")):
        learner = build_learner(with_config(job, training=training, optimizer=optimizer))
        decays = {
            id(p): group["weight_decay"]
            for group in learner.optimizer.param_groups
            for p in group["params"]
        }
        assert len(decays) == len(list(learner.network.parameters()))
        for name, values in learner.network.named_parameters():
            spared = values.ndim == 1 and training.decay == "weights"
            assert decays[id(values)] == (0.0 if spared else 0.3), name


def test_an_epoch_tells_accuracy_and_the_norm_of_its_gradients(job):
    job = with_config(job, augment=AugmentConfig(), training=TrainingConfig(batch_size=24))
    learner, part = build_learner(job), part_of(job)
    learner.optimizer.param_groups[0]["lr"] = 0.0
    learner.network.train()
    (batch,) = part.batches(1)
    seed_everything(part.seed(1, purpose=2))  # of dropout
    logits = learner.network(batch.images)
    learner.loss(logits, batch.labels, batch.weights).backward()
    norm = gradient(learner.network).norm()
    learner.network.zero_grad()
    learnt = train_epoch(learner, part, 1, silent)
    assert learnt["train/grad_norm"] == pytest.approx(float(norm), rel=1e-5)
    right = float((logits.argmax(dim=1) == batch.labels).float().mean())
    assert learnt["train/image/accuracy"] == pytest.approx(right)


def test_the_norm_of_an_epoch_is_the_mean_of_its_steps(job, monkeypatch):
    learner = build_learner(with_config(job, training=TrainingConfig(batch_size=5)))
    norms, step = [], learner.step

    def kept():
        norms.append(step())
        return norms[-1]

    monkeypatch.setattr(learner, "step", kept)
    learnt = train_epoch(learner, part_of(job), 1, silent)
    assert len(norms) > 1
    assert learnt["train/grad_norm"] == pytest.approx(float(torch.stack(norms).mean()), rel=1e-5)


def test_long_epochs_report_how_far_they_are(job, monkeypatch):
    monkeypatch.setattr(epoch_module, "REPORT_EVERY_S", -1.0)
    reports = []
    train_epoch(build_learner(job), part_of(job), 1, lambda *words: reports.append(words))
    assert [(done, of) for done, of, _ in reports] == [(done, 24) for done in range(4, 25, 4)]
    assert all(speed > 0 for *_, speed in reports)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("epoch", [1, 4])
def test_a_loss_that_is_not_finite_stops_the_training(job, value, epoch):
    learner = build_learner(job)
    learner.network.get_parameter("6.bias").data[0] = value
    message = rf"the training loss is nan in epoch {epoch}: try a smaller optimizer.lr"
    with pytest.raises(UserError, match=message):
        train_epoch(learner, part_of(job), epoch, silent)


def test_a_last_step_that_diverges_gets_the_same_advice(job):
    """The loss of an epoch is that before its last step, which only validation sees."""
    job = with_config(job, training=TrainingConfig(batch_size=24))
    learner, part = build_learner(job), part_of(job)
    learner.optimizer.param_groups[0]["lr"] = 1e38
    assert np.isfinite(train_epoch(learner, part, 1, silent)["train/loss"])
    with pytest.raises(UserError, match=r"has diverged in its last steps; try a smaller optimizer"):
        predict(learner, part.source, job.rows("val"))


def trained(job):
    learner, part = build_learner(job), part_of(job)
    for epoch in (1, 2):
        train_epoch(learner, part, epoch, silent)
    return learner, part.source


def test_predictions_come_in_the_order_of_the_rows_whatever_the_batch_size(job, monkeypatch):
    learner, source = trained(job)
    rows = np.random.default_rng(0).permutation(len(job.manifest))
    learner.network.eval()
    with torch.inference_mode():
        alone = torch.cat([learner.network(source.gather(torch.tensor([row]))) for row in rows])
    for size in (1, 2, 5, 35, 36, 256):
        monkeypatch.setitem(EVAL_BATCH, "cpu", size)
        logits = predict(learner, source, rows)
        assert logits.shape == (36, 2)
        torch.testing.assert_close(logits, alone, rtol=0, atol=1e-6)
    assert np.unique(logits[:, 0].numpy().round(4)).size > 10


def test_predicting_changes_neither_network_nor_random_state(job):
    learner, source = trained(job)
    before = {name: values.clone() for name, values in learner.network.state_dict().items()}
    state = torch.random.get_rng_state()
    learner.network.train()
    first = predict(learner, source, job.rows("test"))
    assert not learner.network.training
    assert before["1.num_batches_tracked"] > 0
    for name, values in learner.network.state_dict().items():
        assert torch.equal(values, before[name]), name
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(predict(learner, source, job.rows("test")), first)


def test_training_goes_back_to_training_after_a_prediction(job):
    learner, part = build_learner(job), part_of(job)
    predict(learner, part.source, job.rows("val"))
    before = learner.network.get_buffer("1.running_mean").clone()
    train_epoch(learner, part, 1, silent)
    assert learner.network.training
    assert not torch.equal(learner.network.get_buffer("1.running_mean"), before)


@pytest.mark.parametrize("freeze", [(), ("0", "1")])
def test_a_frozen_part_is_after_training_what_it_was(job, freeze):
    """Also the statistics of its batch norm, which follow the images without any gradient."""
    layers = [
        {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 3},
        {"_target_": "torch.nn.BatchNorm2d", "num_features": 2},
        {"_target_": "torch.nn.Flatten"},
        {
            "_target_": "torch.nn.Linear",
            "in_features": 2 * (SIDE - 2) ** 2,
            "out_features": 2,
        },
    ]
    network = {"_target_": "torch.nn.Sequential", "_args_": layers}
    training = replace(job.config.training, freeze=freeze)
    job = with_config(job, model=network, training=training)
    learner = build_learner(job)
    before = {name: values.clone() for name, values in learner.network.state_dict().items()}
    for epoch in (1, 2):
        train_epoch(learner, part_of(job), epoch, silent)
    after = learner.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    trunk = {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert changed == {"3.weight", "3.bias"} | (set() if freeze else trunk | statistics)
    learner.network.eval()
    assert [module.training for module in learner.train().children()][:2] == [not freeze] * 2


def test_the_reported_probabilities_are_those_after_the_correction(job, monkeypatch):
    monkeypatch.setattr(type(job), "logit_shift", property(lambda _: np.array([1.5, -0.5])))
    learner, part, rows = build_learner(job), part_of(job), job.rows("val")
    found, _ = outputs(learner, part.source, job, rows)
    logits = predict(learner, part.source, rows).cpu() + torch.tensor([1.5, -0.5])
    np.testing.assert_allclose(found, logits.softmax(dim=1), rtol=1e-5)
