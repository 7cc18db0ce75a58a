"""Makes the table of operations, `kernel_cases`, importable, and chooses what runs with the JIT off."""

import sys
from pathlib import Path

import numba
import pytest

sys.path.append(str(Path(__file__).parent))

# With NUMBA_DISABLE_JIT=1 (`make coverage`) the cpu back end is interpreted: hundreds of times slower, and
# NumPy's scalars warn where compiled code goes on. Left out there, by parts of the tests' names:
LEFT_OUT_WITHOUT_JIT = (
    # about compiled code
    "test_jit.py::test_division_by_zero_follows_numpy",
    "test_jit.py::test_compiled_code_is_reused_by_the_next_process",
    "threads",
    # scalars that warn or round otherwise
    "test_large_scores_do_not_overflow[cpu]",
    "test_small_losses_are_not_rounded_to_zero[cpu]",
    "test_a_bad_score_makes_the_loss_nan[cpu",
    "test_a_large_mean_does_not_spoil_the_variance[cpu]",
    # large arrays
    "test_narrower_vectors_on_other_processors",
    "test_the_cut_of_the_work_changes_no_bit_of_a_convolution",
    "test_images_and_blocks_change_no_bit",
    "test_images_do_not_depend_on_their_batch",
    "test_modes_keep_their_bounds",
    "test_nan_reaches_its_tile_and_no_other",
    *(f"[{name}-{outputs}]" for name in ("mixed padding", "vgg", "bands") for outputs in (2, 4)),
    "test_inputs_are_left_alone_and_need_not_be_contiguous[conv2d-cpu]",
    "test_any_shape_agrees_with_the_reference",
    "test_layers_agree_with_the_reference",
    "test_long_sums_of_a_large_gradient",
    "test_bias_gradient_agrees_with_the_reference",
    "test_layers_of_mobilenet",
    "test_parts_of_images_and_several_images_in_a_part",
    "test_direct_and_gathered_ways_give_equal_bits",
    "test_product_agrees_with_float64",
    "test_rows_do_not_depend_on_their_neighbours",
    "test_stored_sets_rank_as_single_comparisons_do",
    "test_ranks_of_large_sets",
    "test_six_hundred_random_sets",
    "test_leave_one_out",
    "test_dense_sphere_from_below",
    "TestClosedForms::test_two_objectives",
    "TestClosedForms::test_zdt6",
    *(f"[{name}]" for name in ("lenet1", "lenet2", "vgg", "small maps", "tiny maps", "bands")),
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what makes no sense for interpreted kernels, or takes too long there."""
    if not numba.config.DISABLE_JIT:
        return
    left_out = [item for item in items if any(part in item.nodeid for part in LEFT_OUT_WITHOUT_JIT)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
