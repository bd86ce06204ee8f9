"""The fields of Caffe's messages: data for `_schema`.

A message starts at the margin. Below it, one field per line: name, number, type (with a star where
repeated), default; and the enumerations that its fields use, before these.

StoredNet and what it holds are the caffemodel: the same bytes as NetParameter, but the parameters of the
layers are left out (forks use the same numbers for different ones), and numbers are read as one run of bytes,
not one by one.
"""

from knight.converters.caffe._layer_fields import LAYERS

_NET = """
BlobShape
    dim 1 int64*

BlobProto
    num 1 int32 0
    channels 2 int32 0
    height 3 int32 0
    width 4 int32 0
    data 5 float*
    shape 7 BlobShape
    double_data 8 double*

NetParameter
    name 1 string
    layers 2 V1LayerParameter*
    input 3 string*
    input_dim 4 int32*
    state 6 NetState
    input_shape 8 BlobShape*
    layer 100 LayerParameter*

NetState
    enum Phase TRAIN=0 TEST=1
    phase 1 Phase TEST
    level 2 int32 0
    stage 3 string*

NetStateRule
    enum Phase TRAIN=0 TEST=1
    phase 1 Phase
    min_level 2 int32
    max_level 3 int32
    stage 4 string*
    not_stage 5 string*

LayerParameter
    enum Phase TRAIN=0 TEST=1
    name 1 string
    type 2 string
    bottom 3 string*
    top 4 string*
    blobs 7 BlobProto*
    include 8 NetStateRule*
    exclude 9 NetStateRule*
    phase 10 Phase
    argmax_param 103 ArgMaxParameter
    concat_param 104 ConcatParameter
    convolution_param 106 ConvolutionParameter
    dropout_param 108 DropoutParameter
    dummy_data_param 109 DummyDataParameter
    eltwise_param 110 EltwiseParameter
    exp_param 111 ExpParameter
    inner_product_param 117 InnerProductParameter
    lrn_param 118 LRNParameter
    memory_data_param 119 MemoryDataParameter
    mvn_param 120 MVNParameter
    pooling_param 121 PoolingParameter
    power_param 122 PowerParameter
    relu_param 123 ReLUParameter
    softmax_param 125 SoftmaxParameter
    slice_param 126 SliceParameter
    threshold_param 128 ThresholdParameter
    prelu_param 131 PReLUParameter
    spp_param 132 SPPParameter
    reshape_param 133 ReshapeParameter
    log_param 134 LogParameter
    flatten_param 135 FlattenParameter
    reduction_param 136 ReductionParameter
    embed_param 137 EmbedParameter
    tile_param 138 TileParameter
    batch_norm_param 139 BatchNormParameter
    elu_param 140 ELUParameter
    bias_param 141 BiasParameter
    scale_param 142 ScaleParameter
    input_param 143 InputParameter
    crop_param 144 CropParameter
    recurrent_param 146 RecurrentParameter
    swish_param 147 SwishParameter
    clip_param 148 ClipParameter
    upsample_param 149 UpsampleParameter
    interp_param 150 InterpParameter
    reorg_param 155 ReorgParameter
    axpy_param 163 AxpyParameter
    shuffle_channel_param 164 ShuffleChannelParameter
    permute_param 202 PermuteParameter
    prior_box_param 203 PriorBoxParameter
    detection_output_param 204 DetectionOutputParameter
    norm_param 206 NormalizeParameter
    relu6_param 2060 ReLUParameter
    roi_pooling_param 8266711 ROIPoolingParameter

V1LayerParameter
    enum LayerType NONE=0 ACCURACY=1 BNLL=2 CONCAT=3 CONVOLUTION=4 DATA=5 DROPOUT=6 EUCLIDEAN_LOSS=7 \
FLATTEN=8 HDF5_DATA=9 HDF5_OUTPUT=10 IM2COL=11 IMAGE_DATA=12 INFOGAIN_LOSS=13 INNER_PRODUCT=14 LRN=15 \
MULTINOMIAL_LOGISTIC_LOSS=16 POOLING=17 RELU=18 SIGMOID=19 SOFTMAX=20 SOFTMAX_LOSS=21 SPLIT=22 TANH=23 \
WINDOW_DATA=24 ELTWISE=25 POWER=26 SIGMOID_CROSS_ENTROPY_LOSS=27 HINGE_LOSS=28 MEMORY_DATA=29 ARGMAX=30 \
THRESHOLD=31 DUMMY_DATA=32 SLICE=33 MVN=34 ABSVAL=35 SILENCE=36 CONTRASTIVE_LOSS=37 EXP=38 DECONVOLUTION=39 \
PRELU=40
    layer 1 V0LayerParameter
    bottom 2 string*
    top 3 string*
    name 4 string
    type 5 LayerType
    blobs 6 BlobProto*
    concat_param 9 ConcatParameter
    convolution_param 10 ConvolutionParameter
    dropout_param 12 DropoutParameter
    inner_product_param 17 InnerProductParameter
    lrn_param 18 LRNParameter
    pooling_param 19 PoolingParameter
    power_param 21 PowerParameter
    memory_data_param 22 MemoryDataParameter
    argmax_param 23 ArgMaxParameter
    eltwise_param 24 EltwiseParameter
    threshold_param 25 ThresholdParameter
    dummy_data_param 26 DummyDataParameter
    relu_param 30 ReLUParameter
    slice_param 31 SliceParameter
    include 32 NetStateRule*
    exclude 33 NetStateRule*
    mvn_param 34 MVNParameter
    softmax_param 39 SoftmaxParameter
    exp_param 41 ExpParameter
    prelu_param 44 PReLUParameter

V0LayerParameter
    name 1 string
    type 2 string
"""

_STORED = """
StoredNet
    layers 2 StoredV1Layer*
    layer 100 StoredLayer*

StoredLayer
    name 1 string
    type 2 string
    blobs 7 StoredBlob*

StoredV1Layer
    layer 1 V0LayerParameter
    name 4 string
    type 5 int32
    blobs 6 StoredBlob*

StoredBlob
    num 1 int32 0
    channels 2 int32 0
    height 3 int32 0
    width 4 int32 0
    data 5 bytes
    shape 7 BlobShape
    double_data 8 bytes
    raw_data_type 10 int32
    raw_data 12 bytes
"""

MESSAGES = f"{_NET}{LAYERS}{_STORED}"
"""All messages, one after another."""
