"""Making networks smaller: channel groups, physical removal, importance criteria, costs."""

from emoref.compress.count import Count, LayerCount, count
from emoref.compress.groups import ChannelGroup, ChannelMap, channel_groups, channel_map, prunable_layers
from emoref.compress.importance import CRITERIA, filter_importance, masks_from_importance, tied_importance
from emoref.compress.slim import apply_masks, kept_channels, slim, slim_network

__all__ = [
    "CRITERIA",
    "ChannelGroup",
    "ChannelMap",
    "Count",
    "LayerCount",
    "apply_masks",
    "channel_groups",
    "channel_map",
    "count",
    "filter_importance",
    "kept_channels",
    "masks_from_importance",
    "prunable_layers",
    "slim",
    "slim_network",
    "tied_importance",
]
