import numpy as np
import pytest
import torch

from pipeline.images.batches import BatchSource
from pipeline.images.packed import TABLE_COLUMNS, Normalisation, PackedImages

CPU = torch.device("cpu")
SHAPES = [(9, 1, 6, 5), (9, 3, 6, 5), (9, 2, 4, 6, 5)]


def packed_of(folder, array):
    """A packed cache as `pack_images` leaves it."""
    np.save(folder / "images.npy", array)
    flat = array.astype(np.float64).reshape(*array.shape[:2], -1)
    sums, squares = flat.sum(axis=2), (flat**2).sum(axis=2)
    lines = [
        ",".join(
            ["", "", "8", " ".join(map(repr, one.tolist())), " ".join(map(repr, two.tolist()))]
        )
        for one, two in zip(sums, squares, strict=True)
    ]
    (folder / "table.csv").write_text("\n".join([",".join(TABLE_COLUMNS), *lines]) + "\n")
    return PackedImages(folder, "key")


def random_array(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_a_batch_is_the_normalised_rows_in_the_order_asked_for(tmp_path, shape, dtype):
    array = random_array(shape, dtype)
    images = packed_of(tmp_path, array)
    normalisation = images.fit_normalisation(np.array([0, 3, 4, 7]))
    source = BatchSource.open(images, normalisation, CPU)
    rows = [5, 0, 8, 5]
    batch = source.gather(torch.tensor(rows))
    per_channel = (1, -1, *[1] * (len(shape) - 2))
    mean, std = (np.reshape(v, per_channel) for v in (normalisation.mean, normalisation.std))
    assert batch.dtype == torch.float32
    np.testing.assert_allclose(batch, (array[rows] - mean) / std, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_train_part_has_mean_0_and_sd_1_in_every_channel(tmp_path, dtype):
    array = random_array((12, 3, 8, 8), dtype)
    array[:, 1] //= 4
    array[6:] = 255  # the other parts do not count
    images, train = packed_of(tmp_path, array), np.arange(6)
    batch = BatchSource.open(images, images.fit_normalisation(train), CPU).gather(
        torch.from_numpy(train)
    )
    torch.testing.assert_close(batch.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    spread = batch.std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(spread, torch.ones(3), atol=1e-5, rtol=0)


def test_gathering_changes_nothing_in_the_cache(tmp_path):
    array = random_array((4, 1, 3, 3), "float32")
    source = BatchSource.open(packed_of(tmp_path, array), Normalisation((7.0,), (2.0,)), CPU)
    first = source.gather(torch.arange(4))
    first.zero_()
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), array)
    assert torch.equal(source.gather(torch.arange(4)), (torch.from_numpy(array) - 7) / 2)


def test_loader_workers_get_the_same_source_on_the_cpu(tmp_path):
    images = packed_of(tmp_path, random_array((4, 3, 3, 3), "uint8"))
    source = BatchSource.open(images, Normalisation((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), CPU)
    copy = source.on_cpu()
    rows = torch.tensor([2, 1])
    assert copy.device == copy.pixels.device == copy.mean.device == CPU
    assert torch.equal(copy.gather(rows), source.gather(rows))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_on_a_gpu_the_batches_are_the_same_whether_the_array_fits_or_not(
    tmp_path, monkeypatch, share
):
    monkeypatch.setattr("pipeline.images.batches.GPU_SHARE", share)
    images = packed_of(tmp_path, random_array((6, 3, 5, 5), "uint8"))
    normalisation = images.fit_normalisation(np.arange(4))
    here = BatchSource.open(images, normalisation, CPU)
    there = BatchSource.open(images, normalisation, torch.device("cuda", 0))
    rows = torch.tensor([4, 0, 4])
    batch = there.gather(rows)
    assert (batch.device.type, there.pixels.is_cuda) == ("cuda", share > 0)
    torch.testing.assert_close(batch.cpu(), here.gather(rows))
    assert torch.equal(there.on_cpu().gather(rows), here.gather(rows))
