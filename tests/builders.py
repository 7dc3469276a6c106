"""Data sets of TensorFlow Datasets that tests define and prepare."""


def builder(called, features, example, counts):
    """A builder class of this name with `counts` {split: examples}; it is found by its files alone, as others are."""
    import tensorflow_datasets as tfds

    class Builder(tfds.core.GeneratorBasedBuilder):
        name = called
        VERSION = tfds.core.Version("4.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features()))

        def _split_generators(self, manager):
            return {split: self._generate_examples(split, n) for split, n in counts.items()}

        def _generate_examples(self, split, n):
            for i in range(n):
                yield i, example(split, i)

    return Builder


def pets():
    """The features of oxford_iiit_pet."""
    import tensorflow_datasets as tfds

    return {
        "image": tfds.features.Image(encoding_format="jpeg"),
        "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
        "label": tfds.features.ClassLabel(num_classes=37),
        "species": tfds.features.ClassLabel(num_classes=2),
        "file_name": tfds.features.Text(),
        "head_bbox": tfds.features.BBoxFeature(),
    }
