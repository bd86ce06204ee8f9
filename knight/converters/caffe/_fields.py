"""The fields of Caffe's messages: data for `_schema`.

A message starts at the margin. Below it, one field per line: name, number, type (with a star where
repeated), default; and the enumerations that its fields use, before these.

StoredNet and what it holds are the caffemodel: the same bytes as NetParameter, but the parameters of the
layers are left out (forks use the same numbers for different ones), and numbers are read as one run of bytes,
not one by one.
"""

MESSAGES = """
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

ArgMaxParameter
    out_max_val 1 bool false
    top_k 2 uint32 1
    axis 3 int32

AxpyParameter
    axis 1 int32 1

BatchNormParameter
    use_global_stats 1 bool
    moving_average_fraction 2 float 0.999
    eps 3 float 1e-5

BiasParameter
    axis 1 int32 1
    num_axes 2 int32 1

ClipParameter
    min 1 float
    max 2 float

ConcatParameter
    concat_dim 1 uint32 1
    axis 2 int32 1

ConvolutionParameter
    num_output 1 uint32
    bias_term 2 bool true
    pad 3 uint32*
    kernel_size 4 uint32*
    group 5 uint32 1
    stride 6 uint32*
    pad_h 9 uint32 0
    pad_w 10 uint32 0
    kernel_h 11 uint32
    kernel_w 12 uint32
    stride_h 13 uint32
    stride_w 14 uint32
    axis 16 int32 1
    dilation 18 uint32*

CropParameter
    axis 1 int32 2
    offset 2 uint32*

DetectionOutputParameter
    enum CodeType CORNER=1 CENTER_SIZE=2 CORNER_SIZE=3
    num_classes 1 uint32
    share_location 2 bool true
    background_label_id 3 int32 0
    nms_param 4 NonMaximumSuppressionParameter
    code_type 6 CodeType CORNER
    keep_top_k 7 int32 -1
    variance_encoded_in_target 8 bool false
    confidence_threshold 9 float
    normalized_bbox 10 bool true

DropoutParameter
    dropout_ratio 1 float 0.5
    scale_train 2 bool true

DummyDataParameter
    num 2 uint32*
    channels 3 uint32*
    height 4 uint32*
    width 5 uint32*
    shape 6 BlobShape*

ELUParameter
    alpha 1 float 1

EltwiseParameter
    enum EltwiseOp PROD=0 SUM=1 MAX=2
    operation 1 EltwiseOp SUM
    coeff 2 float*
    stable_prod_grad 3 bool true

EmbedParameter
    num_output 1 uint32
    input_dim 2 uint32
    bias_term 3 bool true

ExpParameter
    base 1 float -1
    scale 2 float 1
    shift 3 float 0

FlattenParameter
    axis 1 int32 1
    end_axis 2 int32 -1

InnerProductParameter
    num_output 1 uint32
    bias_term 2 bool true
    axis 5 int32 1
    transpose 6 bool false

InputParameter
    shape 1 BlobShape*

InterpParameter
    height 1 int32 0
    width 2 int32 0
    zoom_factor 3 int32 1
    shrink_factor 4 int32 1
    pad_beg 5 int32 0
    pad_end 6 int32 0

LRNParameter
    enum NormRegion ACROSS_CHANNELS=0 WITHIN_CHANNEL=1
    local_size 1 uint32 5
    alpha 2 float 1
    beta 3 float 0.75
    norm_region 4 NormRegion ACROSS_CHANNELS
    k 5 float 1

LogParameter
    base 1 float -1
    scale 2 float 1
    shift 3 float 0

MVNParameter
    normalize_variance 1 bool true
    across_channels 2 bool false
    eps 3 float 1e-9

MemoryDataParameter
    batch_size 1 uint32
    channels 2 uint32
    height 3 uint32
    width 4 uint32

NonMaximumSuppressionParameter
    nms_threshold 1 float 0.3
    top_k 2 int32
    eta 3 float 1

NormalizeParameter
    across_spatial 1 bool true
    channel_shared 3 bool true
    eps 4 float 1e-10

PReLUParameter
    channel_shared 2 bool false

PermuteParameter
    order 1 uint32*

PoolingParameter
    enum PoolMethod MAX=0 AVE=1 STOCHASTIC=2
    enum RoundMode CEIL=0 FLOOR=1
    pool 1 PoolMethod MAX
    kernel_size 2 uint32
    stride 3 uint32 1
    pad 4 uint32 0
    kernel_h 5 uint32
    kernel_w 6 uint32
    stride_h 7 uint32
    stride_w 8 uint32
    pad_h 9 uint32 0
    pad_w 10 uint32 0
    global_pooling 12 bool false
    round_mode 13 RoundMode CEIL
    ceil_mode 14 bool true

PowerParameter
    power 1 float 1
    scale 2 float 1
    shift 3 float 0

PriorBoxParameter
    min_size 1 float*
    max_size 2 float*
    aspect_ratio 3 float*
    flip 4 bool true
    clip 5 bool false
    variance 6 float*
    img_size 7 uint32
    img_h 8 uint32
    img_w 9 uint32
    step 10 float
    step_h 11 float
    step_w 12 float
    offset 13 float 0.5

ROIPoolingParameter
    pooled_h 1 uint32 0
    pooled_w 2 uint32 0
    spatial_scale 3 float 1

ReLUParameter
    negative_slope 1 float 0

RecurrentParameter
    num_output 1 uint32 0
    expose_hidden 5 bool false

ReductionParameter
    enum ReductionOp SUM=1 ASUM=2 SUMSQ=3 MEAN=4
    operation 1 ReductionOp SUM
    axis 2 int32 0
    coeff 3 float 1

ReorgParameter
    stride 1 uint32 2
    reverse 2 bool false

ReshapeParameter
    shape 1 BlobShape
    axis 2 int32 0
    num_axes 3 int32 -1

SPPParameter
    enum PoolMethod MAX=0 AVE=1 STOCHASTIC=2
    pyramid_height 1 uint32
    pool 2 PoolMethod MAX

ScaleParameter
    axis 1 int32 1
    num_axes 2 int32 1
    bias_term 4 bool false

ShuffleChannelParameter
    group 1 uint32 1

SliceParameter
    slice_dim 1 uint32 1
    slice_point 2 uint32*
    axis 3 int32 1

SoftmaxParameter
    axis 2 int32 1

SwishParameter
    beta 1 float 1

ThresholdParameter
    threshold 1 float 0

TileParameter
    axis 1 int32 1
    tiles 2 int32

UpsampleParameter
    scale 1 int32 1
    scale_h 2 int32
    scale_w 3 int32
    pad_out_h 4 bool false
    pad_out_w 5 bool false
    upsample_h 6 uint32
    upsample_w 7 uint32
    stride 8 int32
    stride_h 9 int32
    stride_w 10 int32

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
