"""Where the published EMOMC estimators can be left for something stricter: a named switch for each place."""

from dataclasses import dataclass

__all__ = ["EMOMC_COMPAT", "STRICT", "EmomcRules"]


@dataclass(frozen=True)
class EmomcRules:
    """Switches of the EMOMC estimators; all off is the authors' code to the letter.

    The paper is Z. Wang et al., *Evolutionary Multi-Objective Model Compression for Deep Neural Networks*,
    IEEE CIM 16(3), 2021. What stands in its place where a switch is on is emoref's choice unless it says
    otherwise. A switch changes nothing where its cause is absent: no pruned weights, square maps, whole
    bits, and so on.

    Attributes
    ----------
    whole_bits : bool
        Bit widths must be integers. Off: fractions are rounded (half to even), although the authors'
        quantiser uses the fraction itself, so that their accuracy and energy belong to different networks.
    skipped_zero_weights : bool
        A weight of zero is not read from memory. Off: it is, which contradicts p. 12 of the paper (pruning
        80 % and halving the bits saves 90 % of the data movement). The positions of the others are not
        charged here; they belong to a coding.
    plain_weight_word : bool
        Reading a weight of q bits costs q/16 of a word, as "proportional to the bits moved" (p. 12) says.
        Off: (q + 1)/16.
    quantised_activations : bool
        Activations may be given a number of bits (integers): input reads and the layer's outputs scale with
        it, partial sums stay one word wide, the multiplier has as many bits. Off: activations are always
        16-bit floating point.
    bias_reads : bool
        One word is read for each output channel that has a bias or a batch norm behind it. Off: biases and
        batch norm are free.
    exact_reuse : bool
        Under CI:CO, a datum shared by n weights is used with probability 1 - (1 - p)^n for every n, as under
        the other dataflows. Off: with probability 1 once n is above 24.
    map_width : bool
        Under X:FX a weight is read once for each row of the output map. Off: sqrt(pixels) times, which is
        the same for square maps alone.
    filler_zeros : bool
        The size under CSR counts the expected fillers: runs of zeros longer than the 3 index bits can say
        need an extra entry each. Off: such runs are free, and the stream could not be decoded.
    whole_index_bits : bool
        The size under COO takes ceil(log2 n) bits for an index. Off: round(q + log2 n) for value and index
        together, which can be one bit too few.
    whole_weights : bool
        Sizes count a whole number of kept weights, as pruning leaves it. Off: n * p, a fraction.
    scale_bits : bool
        Each layer stores its quantisation step in 32 bits. Off: for nothing.
    """

    whole_bits: bool = False
    skipped_zero_weights: bool = False
    plain_weight_word: bool = False
    quantised_activations: bool = False
    bias_reads: bool = False
    exact_reuse: bool = False
    map_width: bool = False
    filler_zeros: bool = False
    whole_index_bits: bool = False
    whole_weights: bool = False
    scale_bits: bool = False


EMOMC_COMPAT = EmomcRules()
"""The authors' formulas, unchanged."""

STRICT = EmomcRules(**dict.fromkeys(EmomcRules.__dataclass_fields__, True))
"""Every switch on."""
